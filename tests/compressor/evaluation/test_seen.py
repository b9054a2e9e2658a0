"""Whether two runs of the same samples gave the same, told a part of the output at a time."""

import numpy as np
import pytest

from compressor.evaluation import seen

PIECE = 4


@pytest.fixture(autouse=True)
def _pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_PIECE", PIECE)


def logits() -> np.ndarray:
    values = np.linspace(-1, 1, 5 * PIECE, dtype=np.float32).reshape(2, -1)
    values[0, 0] = -np.inf  # what a mask leaves, which is no scale
    values[1, 1] = np.nan
    return values


@pytest.mark.parametrize("place", [(0, 1), (1, -1)])
def test_a_difference_in_any_part_tells(place: tuple[int, int]) -> None:
    other = logits()
    other[place] += 1e-3
    assert seen._differs(logits(), other)
    assert not seen._differs(logits(), logits())


def test_rounding_is_of_the_scale_of_the_whole() -> None:
    one, other = logits() * 1e-3, logits() * 1e-3
    one[-1, -1] = other[-1, -1] = 100.0
    other[0, 1] += 5e-3  # many times what is beside it, and little for the output
    assert not seen._differs(one, other)
    other[0, 1] += 1e-2
    assert seen._differs(one, other)


def test_sizes_decisions_and_nothing() -> None:
    assert seen._differs(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
    assert seen._differs(np.array([1, 2]), np.array([1, 3]))
    empty = np.zeros((2, 0), np.float32)
    assert not seen._differs(empty, empty)
