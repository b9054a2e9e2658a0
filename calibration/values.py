"""The values of a batch: converted to the model's types without loss, and finite."""

import numpy as np
import numpy.typing as npt

from compressor.errors import DataError
from compressor.graph.tensors import Array

Index = npt.NDArray[np.int64]


def is_float(dtype: np.dtype[np.generic]) -> bool:
    """Whether it is a floating type, bfloat16 included."""
    return dtype.kind == "f" or dtype.name.startswith(("bfloat", "float"))


def is_convertible(found: np.dtype[np.generic], expected: np.dtype[np.generic]) -> bool:
    """Whether data of one type may feed inputs of the other, if their values allow it.

    Floating types feed floating types, integers and booleans feed integers and booleans.
    """
    if is_float(expected) or is_float(found):
        return is_float(expected) and is_float(found)
    return expected.kind in "iub"


def converted(array: Array, dtype: np.dtype[np.generic], index: Index, what: str) -> Array:
    """Values in another type.

    Args:
        array: Samples along the first dimension, of a type that `is_convertible` to `dtype`.
        dtype: The type to convert to.
        index: The index of each sample in its source.
        what: Names the data and the field, to begin messages with.

    Raises:
        DataError: An integer lies outside the range of `dtype`.
    """
    if array.dtype == dtype:
        return array
    if is_float(dtype):
        with np.errstate(over="ignore"):  # what overflows is Inf, and is reported as that
            return array.astype(dtype)
    if not np.can_cast(array.dtype, dtype, "safe"):
        low, high = _range(dtype)
        outside = (array.astype(object) < low) | (array.astype(object) > high)  # exact in any type
        if outside.any():
            row = int(np.flatnonzero(outside.reshape(len(array), -1).any(axis=1))[0])
            value = array[row][outside[row]].reshape(-1)[0]
            raise DataError(
                f"{what}: expected values that fit {dtype}, found {value} in sample {index[row]}"
            )
    return array.astype(dtype)


def check_finite(array: Array, index: Index, what: str) -> None:
    """Raise DataError when a floating array holds NaN or +Inf, saying where and how many.

    Attention masks hold -inf, which passes: a model that cannot take it shows that when it runs.
    """
    if not is_float(array.dtype) or array.size == 0:
        return
    with np.errstate(invalid="ignore"):
        # the extremes carry NaN and Inf, and need no array of booleans
        low, high = array.min(), array.max()
        if (np.isfinite(low) or low == -np.inf) and (np.isfinite(high) or high == -np.inf):
            return
    bad = (~np.isfinite(array) & (array != -np.inf)).reshape(len(array), -1)
    rows = np.flatnonzero(bad.any(axis=1))
    raise DataError(
        f"{what}: expected finite values, found {int(bad.sum())} NaN or Inf "
        f"in {len(rows)} of {len(array)} samples, the first in sample {index[rows[0]]}",
        hint="repair or leave out these samples",
    )


def _range(dtype: np.dtype[np.generic]) -> tuple[int, int]:
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype.name)
    return int(info.min), int(info.max)
