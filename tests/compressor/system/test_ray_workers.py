"""The same tasks on a Ray cluster, of which a node is lost. Where Ray is installed."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compressor.errors import UsageError
from compressor.system.processors import available_processors
from compressor.system.ray_workers import RayWorkers
from compressor.system.workers import LostWorkerError, workers_of

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of what it is asked to do
]


def squared(value: int, seconds: float = 0.0) -> int:
    time.sleep(seconds)
    if value < 0:
        raise ValueError(f"no {value}")
    return value * value


def granted() -> int:
    return available_processors()


def where() -> Path:
    return Path.cwd()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head without processors, so that nodes can be lost whose tasks are not there."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patched.setenv("RAY_AUTH_MODE", "disabled")
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # Tasks are found by name: this module's is that of the test run.
        patched.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *sys.path]))
        found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        yield found
        ray.shutdown()
        found.shutdown()


def gathered(workers: RayWorkers, values: list[int], seconds: float = 0.0) -> list[Any]:
    tickets = [workers.submit(squared, value, seconds) for value in values]
    found = dict(workers.gather() for _ in tickets)
    return [found[ticket] for ticket in tickets]


def test_a_cluster_answers_and_a_lost_node_costs_nothing(cluster: Any) -> None:
    first = cluster.add_node(num_cpus=1, resources={"machine": 1})
    second = cluster.add_node(num_cpus=1, resources={"machine": 1})
    with RayWorkers(cluster.address, patience=2.0) as workers:
        assert workers.count == 2
        answers = gathered(workers, [2, -1, 3])
        assert [answers[0], answers[2]] == [4, 9]
        assert str(answers[1]) == "no -1"
        workers.submit(where)
        assert workers.gather()[1] == Path.cwd(), "relative paths mean the same there"
        workers.submit(granted)
        assert workers.gather()[1] == 1, "two tasks on a machine do not take it twice"
        tickets = [workers.submit(squared, value, 1.5) for value in (4, 5)]
        time.sleep(0.7)
        cluster.remove_node(second, allow_graceful=False)
        found = dict(workers.gather() for _ in tickets)
        assert [found[ticket] for ticket in tickets] == [16, 25]
        cluster.remove_node(first, allow_graceful=False)
        workers.submit(squared, 6)
        with pytest.raises(LostWorkerError, match="no node of the cluster is left"):
            workers.gather()


def test_what_is_no_cluster_is_refused_in_a_line() -> None:
    with pytest.raises(UsageError, match="expected a number of processes") as found:
        workers_of("many")
    assert found.value.hint
