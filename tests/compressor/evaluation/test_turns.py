"""Shares of nodes from the inferences that kept the processor."""

import json
from pathlib import Path

import pytest

from compressor.evaluation.executed import node_times
from compressor.evaluation.turns import BURST, least_lost

LONG, SHORT, SLICE = 600, 20, 4000
"""Microseconds of two nodes, and of the time that others take."""


def profiled(path: Path, runs: int, hit: set[int]) -> Path:
    """A profile in which the longer node of some runs lost the processor, as it mostly does."""
    events, now = [], 0
    for run in range(runs):
        for name, own in (("long", LONG), ("short", SHORT)):
            taken = own + (SLICE if run in hit and name == "long" else 0)
            arguments = {"op_name": "Conv", "node_index": name}
            events.append({"cat": "Node", "name": f"{name}_kernel_time", "ts": now, "dur": taken,
                           "args": arguments})  # fmt: skip
            now += taken + 1
    path.write_text(json.dumps(events))
    return path


def test_on_a_busy_machine_shares_are_those_of_a_quiet_one(tmp_path: Path):
    """Four of five inferences were preempted: their middle says nothing of the node."""
    hit = {run for run in range(30) if run % 5}
    lost = [0.8 if run in hit else 0.001 for run in range(30)]
    path = profiled(tmp_path / "p.json", 30, hit)
    biased = {time.name: time.microseconds for time in node_times(path)}
    assert biased["long"] > 2 * LONG
    found = {time.name: time.microseconds for time in node_times(path, least_lost(lost))}
    assert found == {"long": LONG, "short": SHORT}


@pytest.mark.parametrize("count", [1, 4, 20, 200])
def test_inferences_that_lost_least_are_taken_and_not_the_first(count: int):
    lost = [(7 * run) % 13 / 13 for run in range(count)]
    kept = least_lost(lost)
    assert kept == sorted(set(kept))
    assert len(kept) == (max(BURST, count // 3) if count >= 20 else 1)
    assert count < 4 or min(kept) >= 3
    others = [lost[run] for run in range(3, count) if run not in kept]
    assert not others or max(lost[run] for run in kept) <= min(others)
