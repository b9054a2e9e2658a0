"""8-bit weights whose pairs fit into the sums of CPUs without an 8-bit dot product.

    t = clip16(x₀ · q₀ + x₁ · q₁)                              x in [0, 255]  (vpmaddubsw)
    |q₀| + |q₁| ≤ 128 where both have one sign    ⇒    |t| ≤ 255 · 128 = 32,640 < 2¹⁵

Such CPUs add two products in 16 bits before they add in 32, and what exceeds 16 bits is cut off
silently. The usual remedy are weights of 7 bits (ONNX Runtime's `reduce_range`), which costs every
weight half its levels for what few pairs need. Here only those pairs are made smaller.

A pair are the places (2i, 2i + 1) along the sum: inputs of a product, and of a convolution the
channels within each tap, tap after tap. Where a pair is too large, the two integers are those that
sum to 128 and lie nearest to both weights u, v: q₀ = round((u - v + 128) / 2), q₁ = 128 - q₀.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from calibration.scheme import Codes, FloatArray

Places = npt.NDArray[np.int64]

LIMIT = 128
"""Largest sum of two magnitudes."""


def summed(weight: npt.NDArray[Any], axis: int) -> npt.NDArray[Any]:
    """A weight as (outputs, places along the sum).

    Args:
        weight: As the node stores it: of a convolution (outputs, channels, ...taps).
        axis: Output channels.
    """
    rows = np.moveaxis(weight, axis, 0)
    return np.moveaxis(rows, 1, -1).reshape(len(rows), -1)


def partners(shape: tuple[int, ...], axis: int) -> Places:
    """For each place of a row of `weight`, flat as stored, its partner's; its own without one."""
    row = tuple(size for index, size in enumerate(shape) if index != axis)
    order = summed(np.arange(np.prod(row)).reshape(1, *row), 0)[0]
    found = np.arange(len(order))
    even = len(order) // 2 * 2
    first, second = order[0:even:2], order[1:even:2]
    found[first], found[second] = second, first
    return found


def limited(codes: Codes, reals: FloatArray, axis: int) -> Codes:
    """Integers of which no pair is too large.

    Args:
        codes: Symmetric integers of at most 8 bits, as the node stores them.
        reals: The weights over their scales, of the same shape.
        axis: Output channels.
    """
    rows = summed(codes, axis).astype(np.int16)
    even = rows.shape[1] // 2 * 2
    first, second = rows[:, 0:even:2], rows[:, 1:even:2]
    over = (first.astype(np.int32) * second > 0) & (np.abs(first) + np.abs(second) > LIMIT)
    if not over.any():
        return codes
    row, pair = np.nonzero(over)
    exact = np.abs(summed(reals, axis)).clip(max=LIMIT - 1)
    u, v = exact[row, 2 * pair], exact[row, 2 * pair + 1]
    larger = np.clip(np.rint((u - v + LIMIT) / 2), 1, LIMIT - 1).astype(np.int16)
    sign = np.sign(first[row, pair])
    rows[row, 2 * pair], rows[row, 2 * pair + 1] = sign * larger, sign * (LIMIT - larger)
    return _as_stored(rows.astype(codes.dtype), codes.shape, axis)


def _as_stored(rows: npt.NDArray[Any], shape: tuple[int, ...], axis: int) -> npt.NDArray[Any]:
    """What `summed` made rows of."""
    outputs, inputs, *taps = (shape[axis], *(size for i, size in enumerate(shape) if i != axis))
    whole = np.moveaxis(rows.reshape(outputs, *taps, inputs), -1, 1)
    return np.ascontiguousarray(np.moveaxis(whole, 0, axis))
