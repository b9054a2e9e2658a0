import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.observers import MinMax, Observed
from calibration.stats import CalibrationStats, StatsOrigin, merged
from compressor.errors import DataError

ORIGIN = StatsOrigin("graph", 32)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
arrays = hnp.arrays(np.float32, st.integers(1, 60), elements=finite)


def stats(values: np.ndarray, data: str = "one", name: str = "a") -> CalibrationStats:
    return CalibrationStats({name: Observed.of(values)}, len(values), ORIGIN).of_data(data)


@given(arrays, st.integers(0, 100), st.integers(1, 7))
def test_any_cut_in_any_order_merges_to_one_pass(values: np.ndarray, seed: int, parts: int):
    order = np.random.default_rng(seed).permutation(len(values))
    pieces = [piece for piece in np.array_split(values[order], parts) if len(piece)]
    together = merged([stats(piece, str(i)) for i, piece in enumerate(pieces)])
    assert together.observed["a"] == Observed.of(values)
    assert together.samples == len(values)


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (0.0, math.inf)])
def test_not_finite_names_the_tensor(bad: tuple[float, float]):
    with pytest.raises(DataError, match="conv1_out"):
        MinMax().update(*bad, name="conv1_out")


@given(arrays)
def test_save_and_load_keep_every_bit(tmp_path_factory, values: np.ndarray):
    path = tmp_path_factory.mktemp("stats") / "stats.npz"
    saved = CalibrationStats(
        {"a": Observed.of(values), "b/ü": Observed(MinMax(-0.1, 1 / 3))}, 64, ORIGIN
    ).of_data("data")
    saved.save(path)
    assert CalibrationStats.load(path) == saved
    assert [file.name for file in path.parent.iterdir()] == ["stats.npz"]


def test_merge_of_different_graphs_is_refused():
    one = np.ones(3, np.float32)
    with pytest.raises(DataError, match="different graphs"):
        stats(one).merge(stats(one, "two", name="b"))
    other = replace(stats(one, "two"), origin=StatsOrigin("another graph", 32))
    with pytest.raises(DataError, match="different graphs"):
        stats(one).merge(other)


def test_merge_of_the_same_shard_twice_is_refused():
    one = np.ones(3, np.float32)
    with pytest.raises(DataError, match="same data"):
        stats(one).merge(stats(one))


def test_merge_of_other_options_is_refused():
    one = np.ones(3, np.float32)
    other = replace(stats(one, "two"), origin=StatsOrigin("graph", 16))
    with pytest.raises(DataError, match="batch=16"):
        stats(one).merge(other)


def test_statistics_of_another_graph_or_without_a_value_are_refused():
    found = stats(np.ones(3, np.float32))
    found.require("graph", ["a"], "s.npz")
    with pytest.raises(DataError, match=r"s\.npz.*graph"):
        found.require("other", ["a"], "s.npz")
    with pytest.raises(DataError, match="'conv'"):
        found.require("graph", ["a", "conv"], "s.npz")


@pytest.mark.parametrize("content", [b"[]", b"", b"PK\x03\x04 cut short"])
def test_load_of_something_else_names_the_file(tmp_path: Path, content: bytes):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"other\.npz"):
        CalibrationStats.load(path)


def test_load_of_another_npz_or_a_missing_file(tmp_path: Path):
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.ones(3))
    with pytest.raises(DataError, match=r"arrays\.npz holds no calibration statistics"):
        CalibrationStats.load(path)
    with pytest.raises(DataError, match=r"missing\.npz cannot be read"):
        CalibrationStats.load(tmp_path / "missing.npz")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("extremes", 0, "low"), None),
        (("extremes", 0, "low"), float("nan")),
        (("extremes", 0, "high"), -1e9),
        (("samples",), "8"),
        (("lengths", 0), None),
        (("values",), ["x", "y"]),
        (("origin", "graph"), 3),
        (("origin", "shards"), None),
        (("origin", "more"), 1),
    ],
)
def test_what_no_run_wrote_is_no_statistics(tmp_path, place, value):
    path = tmp_path / "stats.npz"
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    CalibrationStats({"x": Observed.of(rows)}, 4, StatsOrigin("g", 4, shards=("s",))).save(path)
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    document = json.loads(arrays["document"].tobytes())
    *around, last = place
    holder = document
    for key in around:
        holder = holder[key]
    holder[last] = value
    arrays["document"] = np.frombuffer(json.dumps(document).encode(), np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="holds no calibration statistics"):
        CalibrationStats.load(path)


def test_what_a_killed_run_was_writing_goes(tmp_path):
    path = tmp_path / "stats[1].npz"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f"stats[1].npz.{ended.pid}.tmp", f"stats[1].npz.{os.getppid()}.tmp", "other.tmp"):
        (tmp_path / name).touch()
    CalibrationStats({}, 0, StatsOrigin("g", 4)).save(path)
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"stats[1].npz", f"stats[1].npz.{os.getppid()}.tmp", "other.tmp"}
