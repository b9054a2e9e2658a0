"""Figures beside those that decide are taken of the very same files, and known ones alone."""

from pathlib import Path

import numpy as np
from kept_sessions import Calls, session

from compressor.results.measurements import LatencyConfig, LatencyResult, MemoryResult
from compressor.search.kept_measurements import latency_once, measured_key, memory_once
from exporters.base import Artifact

FEEDS = {"x": np.zeros((1, 2), np.float32)}


def artifacts(folder: Path, *contents: bytes) -> tuple[Artifact, ...]:
    made = []
    for number, content in enumerate(contents):
        path = folder / f"{number}.onnx"
        path.write_bytes(content)
        made.append(Artifact(path, (path,)))
    return tuple(made)


def latency(ratio: float | None) -> LatencyResult:
    return LatencyResult(
        config=LatencyConfig(batch=1, threads=1), deciding=False, rounds=9, baseline=None,
        result=None, ratio=ratio, interval=None, verdict="undecided",
    )  # fmt: skip


def test_files_feeds_and_configuration_are_the_key(tmp_path: Path):
    recipe = session(tmp_path / "cache").recipe
    models = artifacts(tmp_path, b"one", b"other")
    key = measured_key(recipe, models, FEEDS, "batch 1")
    assert key == measured_key(recipe, models, FEEDS, "batch 1")
    assert key != measured_key(recipe, models[::-1], FEEDS, "batch 1")
    assert key != measured_key(recipe, models, FEEDS, "batch 2")
    assert key != measured_key(recipe, models, {"x": np.zeros((2, 2))}, "batch 1")
    assert measured_key(session(None).recipe, models, FEEDS) is None
    (tmp_path / "0.onnx.data").touch()
    assert measured_key(recipe, models, FEEDS, "batch 1") is None, "weights lie beside it"


def test_what_is_known_is_kept(tmp_path: Path):
    recipe = session(tmp_path / "cache").recipe
    key = measured_key(recipe, artifacts(tmp_path, b"one", b"other"), FEEDS)
    busy, known = Calls(latency(None)), Calls(latency(1.5))
    for measure, times in ((busy, 2), (known, 1)):
        assert [latency_once(recipe, key, measure) for _ in range(2)] == [measure.result] * 2
        assert measure.count == times
    for result, times in (
        (MemoryResult(baseline_bytes=None, result_bytes=1, ratio=None, interval=None), 2),
        (MemoryResult(baseline_bytes=2, result_bytes=1, ratio=2.0, interval=None), 1),
    ):
        measured = Calls(result)
        assert [memory_once(recipe, key, measured) for _ in range(2)] == [result] * 2
        assert measured.count == times
