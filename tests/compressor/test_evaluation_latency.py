import gc
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pytest

from compressor.evaluation.latency import (
    MIN_ROUNDS,
    compare_latency,
    time_runner,
    verdict,
)
from compressor.evaluation.results import LatencyConfig
from compressor.graph.tensors import TensorSpec
from compressor.records import Interval
from exporters.base import find_target

ONE = LatencyConfig(batch=1, threads=1)
FEEDS = {"x": np.zeros((1, 2), np.float32)}


@dataclass
class Waiting:
    """A runner whose inference takes so many seconds; writes down what happens."""

    seconds: float
    log: list[str]
    name: str = ""

    @property
    def inputs(self):
        return (TensorSpec("x", np.dtype(np.float32), (None, 2)),)

    def bind(self, feeds):
        assert list(feeds) == ["x"]

        def run():
            self.log.append(self.name)
            assert not gc.isenabled()
            end = perf_counter() + self.seconds
            while perf_counter() < end:
                pass

        return run


def compare(a, b, config=ONE, seconds=0.2):
    log: list[str] = []
    runners = Waiting(a, log, "a"), Waiting(b, log, "b")
    result = compare_latency(*runners, FEEDS, config, deciding=True, seconds=seconds, seed=0)
    return result, "".join(log)


def test_a_faster_result_is_faster():
    result, _ = compare(4e-4, 2e-4)
    assert result.ratio == pytest.approx(2.0, rel=0.2)
    assert result.ratio in result.interval
    assert result.ratio == result.baseline.median_ms / result.result.median_ms
    assert result.verdict == "faster"
    assert result.rounds >= 20
    assert result.baseline.median_ms == pytest.approx(0.4, rel=0.2)
    assert result.baseline.p95_ms >= result.baseline.median_ms
    assert gc.isenabled()


def test_a_slower_result_is_slower():
    result, _ = compare(2e-4, 4e-4)
    assert result.verdict == "slower"
    assert result.interval.high < 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.1, "no significant difference"),
        (1.0, 1.2, "no significant difference"),
        (1.01, 1.2, "faster"),
        (0.8, 0.99, "slower"),
    ],
)
def test_verdict(low, high, expected):
    assert verdict(Interval(low=low, high=high)) == expected


def test_runners_take_turns_and_alternate_who_is_first():
    _, log = compare(2e-4, 2e-4, seconds=0.1)
    # One inference warms up, one is timed: A A B B, then B B A A, and so on.
    assert "aabbbbaaaabbbbaa" in log


def test_short_inferences_are_timed_in_numbers():
    result, log = compare(1e-6, 1e-6, seconds=0.1)
    assert len(log) > 20 * result.rounds
    assert result.baseline.median_ms < 0.01


def test_slow_models_get_their_rounds_though_time_is_over():
    result, _ = compare(0.02, 0.02, seconds=0.05)
    assert result.rounds == MIN_ROUNDS


def test_patience_ends():
    result, _ = compare(0.02, 0.02, seconds=1e-3)
    assert result.rounds == 2


def test_traces_are_thinned():
    result, _ = compare(5e-5, 5e-5, seconds=0.3)
    assert result.rounds > 200
    assert len(result.baseline.trace) == 200


def test_threads_wait_for_the_others_to_stop_spinning():
    result, log = compare(1e-3, 2e-3, LatencyConfig(batch=1, threads=2), seconds=0.3)
    # Far more than one of each between turns, also on a machine that is busy.
    assert "a" * 15 in log
    assert "b" * 10 in log
    assert result.rounds > 1
    samples = len(result.baseline.trace)
    assert samples % result.rounds == 0
    assert samples >= 2 * result.rounds


def test_a_runner_alone():
    timing = time_runner(Waiting(2e-4, []), FEEDS, seconds=0.05)
    assert timing.median_ms == pytest.approx(0.2, rel=0.2)


def test_one_model_against_itself_on_onnx_runtime(tiny_model):
    feeds = {"x": np.ones((8, 16), np.float32)}
    target = find_target("ort")
    with target.open(tiny_model) as a, target.open(tiny_model) as b:
        config = LatencyConfig(batch=8, threads=1)
        result = compare_latency(a, b, feeds, config, deciding=False, seconds=0.5, seed=0)
    assert result.ratio == pytest.approx(1.0, abs=0.2)
    assert not result.deciding
    assert 0 < result.result.median_ms < 10
