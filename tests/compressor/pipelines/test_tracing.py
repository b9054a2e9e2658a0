"""Recorded calls: a bounded sample in which every phase of a run is represented."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from loops import Doubling

from compressor.pipelines.tracing import PHASES, Trace, recorded


def traced(folder: Path, runs: int, calls: int, capacity: int, seed: int = 0) -> list[int]:
    trace = Trace(folder, capacity, seed, {"g": calls})
    for _ in range(runs):
        trace.began()
        for index in range(calls):
            trace.record("g", {"t": np.array([index])})
    assert trace.seen["g"] == runs * calls
    return [int(call["t"][0]) for call in trace.calls("g")()]


@pytest.mark.parametrize(("runs", "calls"), [(50, 10), (5, 200), (40, 32)])
def test_no_more_is_kept_than_there_is_room_for_and_of_every_phase(
    tmp_path: Path, runs: int, calls: int
):
    kept = traced(tmp_path, runs, calls, 64)
    phases = min(PHASES, calls)
    assert 64 - phases < len(kept) <= 64
    assert len(list(tmp_path.iterdir())) == len(kept), "what is replaced takes no room"
    counts = Counter(index * phases // calls for index in kept)
    assert set(counts) == set(range(phases))
    assert max(counts.values()) == min(counts.values())


def test_it_is_drawn_by_seed_and_not_in_the_order_of_the_run(tmp_path: Path):
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    first, again, other = (
        traced(folder, 20, 30, 48, seed) for folder, seed in zip(folders, (1, 1, 2), strict=True)
    )
    assert first == again != other
    assert first != sorted(first)


def test_late_runs_are_as_likely_as_early_ones(tmp_path: Path):
    trace = Trace(tmp_path, 200, 0, {"g": 1})
    for run in range(2000):
        trace.began()
        trace.record("g", {"run": np.array([run])})
    kept = [int(call["run"][0]) for call in trace.calls("g")()]
    assert 800 < np.mean(kept) < 1200


def test_a_run_with_more_calls_than_were_seen_adds_to_the_last_phase(tmp_path: Path):
    trace = Trace(tmp_path, 8, 0, {"g": 2})
    trace.began()
    for index in range(5):
        trace.record("g", {"t": np.array([index])})
    assert sorted(int(call["t"][0]) for call in trace.calls("g")()) == [0, 1, 2, 3, 4]


def test_what_is_recorded_is_what_is_fed_and_runs_all_the_same():
    seen = []
    openers = recorded({"g": Doubling}, lambda name, feeds: seen.append((name, feeds["x"].sum())))
    with openers["g"]() as runner:
        made = runner.run({"x": np.ones((1, 2), np.float32)})
        assert [spec.name for spec in runner.inputs] == ["x"]
    np.testing.assert_array_equal(made["y"], [[2, 2]])
    assert seen == [("g", 2.0)]


def test_what_is_kept_takes_no_more_than_it_may(tmp_path: Path):
    small, large = np.zeros(10, np.int8), np.zeros(1000, np.int8)
    trace = Trace(tmp_path, 64, 0, {"a": 8, "b": 8}, 20_000)
    for run in range(30):
        trace.began()
        for index in range(8):
            trace.record("a", {"x": large, "run": np.array([run]), "t": np.array([index])})
            trace.record("b", {"x": small})
    assert trace.kept("b") == 64
    assert 8 <= trace.kept("a") <= 16
    calls = list(trace.calls("a")())
    assert Counter(int(call["t"][0]) for call in calls) == {t: len(calls) // 8 for t in range(8)}
    assert 5 < np.mean([call["run"][0] for call in calls]) < 25
    assert len(list(tmp_path.iterdir())) == trace.kept("a") + trace.kept("b")
