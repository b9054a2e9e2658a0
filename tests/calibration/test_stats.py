import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.observers import MinMax
from calibration.ranges import find_method, method_names
from calibration.scheme import Scheme
from calibration.stats import CalibrationStats
from compressor.errors import DataError, UsageError

extremes = st.tuples(st.floats(-1e9, 0), st.floats(0, 1e9))


def observe(pairs: list[tuple[float, float]]) -> MinMax:
    seen = MinMax()
    for low, high in pairs:
        seen = seen.update(low, high, name="x")
    return seen


@given(st.lists(extremes, min_size=1), st.integers(0, 100))
def test_two_halves_merge_to_one_pass(pairs: list[tuple[float, float]], cut: int):
    cut %= len(pairs) + 1
    assert observe(pairs[:cut]).merge(observe(pairs[cut:])) == observe(pairs)


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (0.0, math.inf)])
def test_not_finite_names_the_tensor(bad: tuple[float, float]):
    with pytest.raises(DataError, match="conv1_out"):
        MinMax().update(*bad, name="conv1_out")


def test_save_and_load_keep_every_bit(tmp_path: Path):
    stats = CalibrationStats({"a": MinMax(-0.1, 1 / 3, 2), "b": MinMax(0.0, 1e-30, 2)}, 64)
    stats.save(tmp_path / "stats.json")
    assert CalibrationStats.load(tmp_path / "stats.json") == stats


def test_merge_of_different_graphs_is_refused():
    one = CalibrationStats({"a": MinMax()}, 1)
    other = CalibrationStats({"b": MinMax()}, 1)
    with pytest.raises(DataError, match="different graphs"):
        one.merge(other)


def test_load_of_something_else_names_the_file(tmp_path: Path):
    path = tmp_path / "other.json"
    path.write_text("[]")
    with pytest.raises(DataError, match=r"other\.json"):
        CalibrationStats.load(path)


def test_every_range_method_is_found_by_its_file_name():
    assert "minmax" in method_names()
    scheme = Scheme("uint8", symmetric=False)
    for name in method_names():
        low, high = find_method(name).propose(MinMax(-1.0, 2.0, 1), scheme)
        assert low <= 0.0 <= high


def test_unknown_range_method_lists_the_known():
    with pytest.raises(UsageError) as error:
        find_method("entropie")
    assert "minmax" in str(error.value)
