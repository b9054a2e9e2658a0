"""Second moments of a layer's rows and targets: all that a least-squares solve needs.

Products of float32 pieces are summed in float64, about a point near the mean, so that the size
of a value does not hide how much it varies.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg

from compressor.layerwise.im2col import Doubles, Floats

LARGEST = 1e15
"""Magnitude of float32 up to which sums of squares are taken in it."""

Solution = tuple[Doubles, Doubles]
"""W (groups, m, k) and b (groups, m)."""


@dataclass
class Moments:
    """Sums over rows x (k,) and targets y (m,), for each group, about the origins x₀ and y₀.

    Attributes:
        x0: (groups, k).
        y0: (groups, m).
        count: Rows seen.
        x: Σ (x - x₀), (groups, k).
        y: Σ (y - y₀), (groups, m).
        xx: Σ (x - x₀)(x - x₀)ᵀ, (groups, k, k).
        yx: Σ (y - y₀)(x - x₀)ᵀ, (groups, m, k).
    """

    x0: Doubles
    y0: Doubles
    count: int
    x: Doubles
    y: Doubles
    xx: Doubles
    yx: Doubles

    @classmethod
    def about(cls, x0: Doubles, y0: Doubles) -> Self:
        """Nothing seen yet."""
        (groups, k), m = x0.shape, y0.shape[1]
        return cls(
            x0=x0,
            y0=y0,
            count=0,
            x=np.zeros((groups, k)),
            y=np.zeros((groups, m)),
            xx=np.zeros((groups, k, k)),
            yx=np.zeros((groups, m, k)),
        )

    def add(self, rows: Floats, targets: Floats) -> None:
        """See rows (groups, n, k) and targets (groups, n, m)."""
        x = rows - self.x0[:, None].astype(rows.dtype)
        y = targets - self.y0[:, None].astype(targets.dtype)
        x, y = _squarable(x), _squarable(y)
        self.count += x.shape[1]
        self.x += x.sum(1, dtype=np.float64)
        self.y += y.sum(1, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # `solve` refuses what is not finite
            self.xx += x.swapaxes(1, 2) @ x
            self.yx += y.swapaxes(1, 2) @ x

    def add_mean(self, rows: Floats) -> None:
        """See rows for their mean only."""
        self.count += rows.shape[1]
        self.x += (rows - self.x0[:, None].astype(rows.dtype)).sum(1, dtype=np.float64)

    def mean(self) -> tuple[Doubles, Doubles]:
        """x̄ (groups, k) and ȳ (groups, m)."""
        return self.x0 + self.x / self.count, self.y0 + self.y / self.count

    def centred(self) -> tuple[Doubles, Doubles]:
        """G = Σ (x - x̄)(x - x̄)ᵀ, (groups, k, k), and C = Σ (y - ȳ)(x - x̄)ᵀ, (groups, m, k)."""
        mean = self.x[:, None] / self.count
        return self.xx - self.x[:, :, None] * mean, self.yx - self.y[:, :, None] * mean

    def raw(self) -> tuple[Doubles, Doubles]:
        """G = Σ x·xᵀ and C = Σ y·xᵀ."""
        (gram, cross), (x, y) = self.centred(), self.mean()
        gram += self.count * x[:, :, None] * x[:, None]
        cross += self.count * y[:, :, None] * x[:, None]
        return gram, cross


def solve(
    moments: Moments, ridge: float, prior: Doubles | None = None, *, affine: bool = True
) -> Solution:
    """Ridge regression of the targets on the rows, with an affine term that is not shrunk.

        W = P + (C - P·G)(G + λI)⁻¹,   b = ȳ - W·x̄,   λ = ridge · mean diag G

    G and C are about the means, which gives what an affine column and λ·diag(I, 0) give; without
    an affine term they are about zero, and b is zero.

    Args:
        moments: What was seen.
        ridge: λ relative to the mean of G's diagonal.
        prior: P, what λ shrinks towards; zeros by default.
        affine: Whether there is a b.

    Returns:
        W (groups, m, k) and b (groups, m).

    Raises:
        LinAlgError: The moments are not finite, or G is not positive definite for all λ.
    """
    if not all(np.isfinite(one).all() for one in (moments.xx, moments.yx)):
        raise np.linalg.LinAlgError("they are not finite")
    gram, cross = moments.centred() if affine else moments.raw()
    if prior is not None:
        cross -= prior @ gram
    matrix = np.empty_like(cross) if prior is None else prior.copy()
    if not (np.isfinite(gram).all() and np.isfinite(cross).all()):
        raise np.linalg.LinAlgError("they are not finite")
    for group, (g, c) in enumerate(zip(gram, cross, strict=True)):
        factor = scipy.linalg.cho_factor(
            damped(g, ridge), lower=True, overwrite_a=True, check_finite=False
        )
        step = scipy.linalg.cho_solve(factor, c.T, check_finite=False).T
        matrix[group] = step if prior is None else matrix[group] + step
    bias = np.zeros(matrix.shape[:2])
    if affine:
        x, y = moments.mean()
        bias = y - np.einsum("gmk,gk->gm", matrix, x)
    return matrix, bias


def _squarable(array: Floats) -> Floats | Doubles:
    """The array, in float64 where the squares of float32 could overflow."""
    if array.size and not np.abs(array).max() < LARGEST:
        return array.astype(np.float64)
    return array


def damped(gram: Doubles, ridge: float) -> Doubles:
    """G + λI in place, λ = ridge · mean diag G; positive definite for a G of zeros, too."""
    step = ridge * gram.trace() / len(gram)
    gram[np.diag_indices_from(gram)] += step if step > 0 else 1.0
    return gram
