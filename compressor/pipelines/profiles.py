"""Where in a unit its error lies: a profile over places, the same for units of all sizes."""

import numpy as np
import numpy.typing as npt

from compressor.evaluation.pictures import channels_last
from compressor.graph.tensors import Array

SEGMENTS = 16
"""Places of a row."""
SIDE = 4
"""Places of an image, each way."""

FloatArray = npt.NDArray[np.float64]


def is_row(array: Array) -> bool:
    """Whether a unit is a row of whole numbers or a text."""
    return array.dtype.kind in "OSU" or (array.ndim == 1 and array.dtype.kind in "iu")


def words_of(array: Array) -> list[str]:
    """A text's words, or a row's numbers."""
    if array.dtype.kind in "OSU":
        told = (one.decode(errors="replace") if isinstance(one, bytes) else str(one)
                for one in array.reshape(-1).tolist())  # fmt: skip
        return " ".join(told).split()
    return [str(int(number)) for number in array.reshape(-1)]


def error_of(before: Array, after: Array) -> float:
    """‖y - ŷ‖ / ‖y‖, or of rows the share of places that differ."""
    if is_row(before) and is_row(after):
        return float(_differ(before, after).mean()) if before.size or after.size else 0.0
    if before.shape != after.shape or before.dtype.kind not in "fiub":
        return 1.0
    if before.dtype.kind != "f":
        return float(np.mean(before != after))
    exact = before.astype(np.float64)
    norm = float(np.linalg.norm(exact))
    apart = float(np.linalg.norm(exact - after.astype(np.float64)))
    return apart / norm if norm else apart


def profile_of(before: Array, after: Array) -> FloatArray | None:
    """The share of the error in each place, in sum 1; None where there is none, or no places.

    An image is divided into `SIDE` by `SIDE` places, anything else along its longest axis.
    """
    if is_row(before) and is_row(after):
        places = _pooled(_differ(before, after), SEGMENTS)
    elif before.shape != after.shape or before.dtype.kind not in "fiu" or not before.ndim:
        return None
    else:
        places = _of_array(before, after)
    total = float(places.sum())
    return places / total if 0 < total < np.inf else None


def is_picture(array: Array) -> bool:
    """Whether its places are those of an image."""
    return channels_last(array) is not None


def _of_array(before: Array, after: Array) -> FloatArray:
    squares = np.square(before.astype(np.float64) - after.astype(np.float64))
    pixels = channels_last(squares)
    if pixels is not None:
        rows = np.array_split(pixels.sum(axis=2), SIDE, axis=0)
        cells = [cell.sum() for row in rows for cell in np.array_split(row, SIDE, axis=1)]
        return np.array(cells, np.float64)
    axis = int(np.argmax(squares.shape))
    others = tuple(one for one in range(squares.ndim) if one != axis)
    return _pooled(np.asarray(squares.sum(axis=others)), SEGMENTS)


def _pooled(along: FloatArray, places: int) -> FloatArray:
    """Sums over so many parts; a row that is shorter than that lies in some of them."""
    found = np.zeros(places)
    np.add.at(found, np.arange(len(along)) * places // max(len(along), 1), along)
    return found


def _differ(before: Array, after: Array) -> FloatArray:
    """1 at each place where two rows differ; where one has ended, all do."""
    one, other = words_of(before), words_of(after)
    length = max(len(one), len(other))
    one, other = (row + [""] * (length - len(row)) for row in (one, other))
    return np.array([a != b for a, b in zip(one, other, strict=True)], np.float64)
