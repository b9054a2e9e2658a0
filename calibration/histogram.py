"""A histogram that needs no range in advance: one bin per sign, exponent and 7 mantissa bits.

The upper 16 bits of a float32 are its bin. Bins are 0.4 to 0.8 % of their value wide, there are
65,536 at most, and they are the same for every tensor, so that histograms merge by adding counts:
one pass, whole numbers, no order. Only the bins that were hit are kept.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from compressor.graph.tensors import Array

BINS = 1 << 16
_SIGN = 1 << 15
_SHIFT = 16

Counts = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Bins:
    """Bins in ascending order; float64, so that sums over billions of elements stay exact enough.

    Attributes:
        lower: The lower edge of each.
        upper: The upper edge of each.
        counts: Elements in each.
        zeros: Elements that are zero (below 2⁻¹³³ in magnitude), which are in no bin: every
            quantizer represents them exactly.
    """

    lower: npt.NDArray[np.float64]
    upper: npt.NDArray[np.float64]
    counts: npt.NDArray[np.float64]
    zeros: int

    def mirrored(self) -> "Bins":
        """The bins of -x."""
        return Bins(-self.upper[::-1], -self.lower[::-1], self.counts[::-1], self.zeros)

    def magnitudes(self) -> "Bins":
        """The bins of |x|; those of x and -x lie beside each other."""
        negative = self.upper <= 0
        lower = np.where(negative, -self.upper, self.lower)
        upper = np.where(negative, -self.lower, self.upper)
        order = np.argsort(lower, kind="stable")
        return Bins(lower[order], upper[order], self.counts[order], self.zeros)


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of the bins that were hit.

    Attributes:
        keys: The upper halves of the float32 bit patterns, ascending.
        counts: How many elements each has; never 0.
    """

    keys: Keys = field(default_factory=lambda: np.zeros(0, np.uint16))
    counts: Counts = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, values: Array) -> Self:
        """The histogram of an array."""
        return cls.from_dense(count(values))

    @classmethod
    def from_dense(cls, dense: Counts) -> Self:
        """The histogram of one count per possible bin [65536]."""
        keys = np.flatnonzero(dense)
        return cls(keys.astype(np.uint16), dense[keys])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return np.array_equal(self.keys, other.keys) and np.array_equal(self.counts, other.counts)

    __hash__ = None  # type: ignore[assignment]

    @property
    def total(self) -> int:
        """The number of elements."""
        return int(self.counts.sum())

    def dense(self) -> Counts:
        """One count per possible bin [65536]."""
        dense: Counts = np.zeros(BINS, np.int64)
        dense[self.keys] = self.counts
        return dense

    def merge(self, other: Self) -> Self:
        """The histogram of both parts together."""
        dense = self.dense()
        dense[other.keys] += other.counts
        return type(self).from_dense(dense)

    def bins(self) -> Bins:
        """The bins with their edges."""
        keys = self.keys.astype(np.int64)
        magnitude, negative = keys & (_SIGN - 1), keys >= _SIGN
        zero = magnitude == 0
        near = _edge(magnitude)
        far = _edge(magnitude + 1)
        lower, upper = np.where(negative, -far, near), np.where(negative, -near, far)
        order = np.argsort(lower, kind="stable")
        order = order[~zero[order]]
        zeros = int(self.counts[zero].sum())
        return Bins(lower[order], upper[order], self.counts[order].astype(np.float64), zeros)


def count(values: Array) -> Counts:
    """How many of the values fall into each possible bin [65536]."""
    return np.bincount(keys_of(values), minlength=BINS)


def keys_of(values: Array) -> Keys:
    """The bin of each value."""
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    return (flat.view(np.uint32) >> _SHIFT).astype(np.uint16)


def _edge(magnitude: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The magnitude at which a bin begins; beyond the greatest finite bin, float32's maximum."""
    bits = (magnitude << _SHIFT).astype(np.uint32)
    with np.errstate(invalid="ignore"):
        values = bits.view(np.float32).astype(np.float64)
    return np.where(np.isfinite(values), values, float(np.finfo(np.float32).max))
