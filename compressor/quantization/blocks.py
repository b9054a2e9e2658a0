"""Matrices in blocks of integers: the numpy reference of what MatMulNBits stores.

    w ≈ (q - z) · s,   0 <= q < 2^bits, one scale s and one zero point z for each row and block

A matrix has shape (n, k), outputs by inputs; a block is `block` neighbours of a row. The last block
of a row is filled up with the integers of real zero. Without zero points z is 2^(bits - 1). Packed,
a byte holds one integer of 8 bits, or two of 4, the first in its low half, and each row of zero
points is packed likewise (ONNX Runtime, ContribOperators.md, com.microsoft.MatMulNBits).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

SHRINK = np.linspace(1.0, 0.7, 16)
"""Shares of a block's range that are tried; equal errors keep the largest."""


@dataclass(frozen=True)
class BlockFormat:
    """The block format of a matrix.

    Attributes:
        bits: 4 or 8.
        block: Inputs that share a scale: a power of two, 16 or more.
        symmetric: Whether real zero is in the middle of the integers, and no zero point is stored.
    """

    bits: int
    block: int
    symmetric: bool

    @property
    def levels(self) -> int:
        """The greatest integer."""
        return (1 << self.bits) - 1

    @property
    def middle(self) -> int:
        """The zero point of a symmetric block."""
        return 1 << (self.bits - 1)

    def blocks(self, inputs: int) -> int:
        """How many blocks a row of so many inputs has."""
        return -(-inputs // self.block)

    def bytes(self, outputs: int, inputs: int) -> int:
        """What a matrix takes, with float32 scales."""
        blocks = self.blocks(inputs)
        zeros = 0 if self.symmetric else -(-blocks * self.bits // 8)
        return outputs * (blocks * (self.block * self.bits // 8 + 4) + zeros)


@dataclass(frozen=True)
class Grid:
    """Scales and zero points.

    Attributes:
        scales: float32, (n, blocks).
        zeros: uint8, (n, blocks).
    """

    scales: npt.NDArray[np.float32]
    zeros: Bytes

    def integers(self, values: Matrix, block: int, form: BlockFormat) -> Bytes:
        """The nearest integers of values (n, m), all of them of one block."""
        scale, zero = self.scales[:, block, None], self.zeros[:, block, None]
        found: Bytes = np.clip(np.rint(values / scale) + zero, 0, form.levels).astype(np.uint8)
        return found

    def reals(self, integers: Bytes, block: int) -> Doubles:
        """What integers (n, m) of one block stand for."""
        scale = self.scales[:, block, None].astype(np.float64)
        return (integers - self.zeros[:, block, None].astype(np.float64)) * scale

    def nearest(self, values: Doubles, column: int, form: BlockFormat) -> tuple[Bytes, Doubles]:
        """The nearest integers of a column (n, 1), and what they stand for."""
        block = column // form.block
        integers = self.integers(values, block, form)
        return integers, self.reals(integers, block)


@dataclass(frozen=True)
class Packed:
    """A matrix as it is stored.

    Attributes:
        codes: uint8, (n, blocks, block · bits / 8).
        scales: float32, (n, blocks).
        zeros: uint8, (n, ⌈blocks · bits / 8⌉); None for symmetric blocks.
    """

    codes: Bytes
    scales: npt.NDArray[np.float32]
    zeros: Bytes | None


def grid_of(matrix: Matrix, form: BlockFormat, weights: Doubles | None = None) -> Grid:
    """Per block the scale and zero point with the least Σ h·(w - ŵ)².

    A few shares of the block's range, which includes zero, are tried, as long as one may win:
    what is farthest out, at m, comes to lie a step beyond the share t at most, which alone costs
    (m - t·m - s)². With 8 bits few are. A block of zeros gets the scale 1.

    Args:
        matrix: (n, k).
        form: How it is to be stored.
        weights: h, of each input (k,): what an error there counts, such as the mean square of the
            input. None counts all alike.
    """
    padded = _padded(matrix.astype(np.float64), form)
    counted = None if weights is None else _padded(weights[None], form)
    lost = np.empty_like(padded)
    low = np.minimum(padded.min(2, keepdims=True), 0.0)
    high = np.maximum(padded.max(2, keepdims=True), 0.0)
    best: Grid | None = None
    least = np.full(low.shape, np.inf)
    farthest, dearest = np.maximum(-low, high), _counts_of_farthest(padded, counted)
    for share in SHRINK:
        scale, zero = _grid(share * low, share * high, form)
        beyond = np.maximum((1 - share) * farthest - scale, 0.0)
        if best is not None and np.all(dearest * beyond**2 >= least):
            break
        np.divide(padded, scale, out=lost)
        np.rint(lost, out=lost)
        np.clip(lost, -zero, form.levels - zero, out=lost)
        lost *= scale
        lost -= padded
        lost *= lost
        if counted is not None:
            lost *= counted
        error = lost.sum(2, keepdims=True)
        better = error < least
        if best is None:
            best = Grid(scale[..., 0].astype(np.float32), zero[..., 0].astype(np.uint8))
        np.copyto(best.scales, scale[..., 0], where=better[..., 0], casting="same_kind")
        np.copyto(best.zeros, zero[..., 0], where=better[..., 0], casting="unsafe")
        np.minimum(error, least, out=least)
    assert best is not None, "SHRINK is not empty"
    return best


def _counts_of_farthest(padded: Doubles, counted: Doubles | None) -> Doubles | float:
    """H of the value of each block that is farthest from zero, (n, blocks, 1)."""
    if counted is None:
        return 1.0
    where = np.abs(padded).argmax(2, keepdims=True)
    found: Doubles = np.take_along_axis(np.broadcast_to(counted, padded.shape), where, axis=2)
    return found


def nearest(matrix: Matrix, grid: Grid, form: BlockFormat) -> Bytes:
    """The nearest integers of a matrix, (n, k)."""
    found = np.empty(matrix.shape, np.uint8)
    for block in range(form.blocks(matrix.shape[1])):
        part = slice(block * form.block, (block + 1) * form.block)
        found[:, part] = grid.integers(matrix[:, part].astype(np.float64), block, form)
    return found


def dequantized(integers: Bytes, grid: Grid, form: BlockFormat) -> Doubles:
    """What integers (n, k) stand for."""
    found = np.empty(integers.shape)
    for block in range(form.blocks(integers.shape[1])):
        part = slice(block * form.block, (block + 1) * form.block)
        found[:, part] = grid.reals(integers[:, part], block)
    return found


def packed(integers: Bytes, grid: Grid, form: BlockFormat) -> Packed:
    """Integers (n, k) and their grid as they are stored."""
    rows, inputs = integers.shape
    blocks = form.blocks(inputs)
    filled = np.repeat(grid.zeros, form.block, axis=1)
    filled[:, :inputs] = integers
    codes = _packed_rows(filled, form.bits).reshape(rows, blocks, -1)
    zeros = None if form.symmetric else _packed_rows(grid.zeros, form.bits)
    return Packed(codes, grid.scales, zeros)


def codes_of(stored: Packed, form: BlockFormat) -> Bytes:
    """The integers (n, blocks · block), the filling of the last block included."""
    return _unpacked_rows(stored.codes.reshape(len(stored.scales), -1), form.bits)


def unpacked(stored: Packed, inputs: int, form: BlockFormat) -> Doubles:
    """The matrix (n, inputs) that a runtime computes with."""
    rows, blocks = stored.scales.shape
    integers = codes_of(stored, form)[:, :inputs]
    zeros = np.full((rows, blocks), form.middle, np.uint8)
    if stored.zeros is not None:
        zeros = _unpacked_rows(stored.zeros, form.bits)[:, :blocks]
    return dequantized(integers, Grid(stored.scales, zeros), form)


def _grid(low: Doubles, high: Doubles, form: BlockFormat) -> tuple[Doubles, Doubles]:
    """Scale, as float32 can hold it, and zero point of the ranges [low, high], which hold zero."""
    if form.symmetric:
        # The side that is farther out gets the 2^(bits - 1) steps below the middle, or one less.
        scale = np.maximum(-low / form.middle, high / (form.middle - 1))
    else:
        scale = (high - low) / form.levels
    scale = scale.astype(np.float32).astype(np.float64)
    scale[scale < np.finfo(np.float32).tiny] = 1.0
    if form.symmetric:
        return scale, np.full_like(scale, form.middle)
    return scale, np.clip(np.rint(-low / scale), 0, form.levels)


def _padded(matrix: Doubles, form: BlockFormat) -> Doubles:
    """(n, k) → (n, blocks, block), filled up with zeros."""
    rows, inputs = matrix.shape
    blocks = form.blocks(inputs)
    wide = np.zeros((rows, blocks * form.block))
    wide[:, :inputs] = matrix
    return wide.reshape(rows, blocks, form.block)


def _packed_rows(integers: Bytes, bits: int) -> Bytes:
    """Two neighbours of 4 bits in a byte, the first below; an odd last one is alone."""
    if bits == 8:
        return integers
    if integers.shape[1] % 2:
        integers = np.pad(integers, ((0, 0), (0, 1)))
    return (integers[:, ::2] | (integers[:, 1::2] << 4)).astype(np.uint8)


def _unpacked_rows(packed_rows: Bytes, bits: int) -> Bytes:
    if bits == 8:
        return packed_rows
    halves = np.stack([packed_rows & 15, packed_rows >> 4], axis=2)
    return halves.reshape(len(packed_rows), -1)
