"""GPTQ: integers of a matrix that make up for each other's errors.

The error of a layer's outputs is tr(Δ·H·Δᵀ) with Δ = W - Ŵ and H = 2·X·Xᵀ of its inputs. Columns
are rounded one after the other; what a column loses is spread over those that are still to come:

    e = (w_j - ŵ_j) / U_jj,   W_:,j: -= e · U_j,j:,   H⁻¹ = Uᵀ·U

(Frantar et al. 2022, arXiv 2210.17323, algorithm 1), lazily in groups of columns, with 1 % of the
mean of H's diagonal added to it, in float64. Columns go by falling H_jj, the `act-order` of the
authors' code; scales and zero points are chosen before, from W, so that blocks stay neighbours.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.layerwise.factor import LAZY, inverse_factor
from compressor.quantization.blocks import Doubles, Matrix

Integers = npt.NDArray[np.integer]
Nearest = Callable[[Doubles, int], tuple[Integers, Doubles]]
"""Values (n, 1) and their column → the nearest integers, and what those stand for, (n, 1) each."""

DAMPING = 0.01
"""What is added to H's diagonal, relative to its mean."""


@dataclass(frozen=True)
class Ordered:
    """The second moments of a layer's input, factored for rounding, the same for all rows.

    Attributes:
        columns: The columns by falling H_jj, (k,).
        factor: U of H in that order, (k, k).
    """

    columns: npt.NDArray[np.intp]
    factor: Doubles


def ordered(hessian: Doubles) -> Ordered:
    """Columns in the order in which they are rounded, and the factor.

    Raises:
        LinAlgError: The moments are not finite, or have no factor for all the damping.
    """
    columns = np.argsort(-np.diag(hessian), kind="stable")
    return Ordered(columns, _factor(hessian[np.ix_(columns, columns)]))


def rounded(
    matrix: Matrix,
    hessian: Doubles,
    nearest: Nearest,
    *,
    zeros: bool = False,
    known: "Ordered | None" = None,
) -> npt.NDArray[np.int16]:
    """The integers of a matrix (n, k) on a grid, for inputs with the second moments `hessian`.

    Args:
        matrix: W, (n, k).
        hessian: X·Xᵀ, (k, k); a factor does not matter.
        nearest: Rounds to the grid, on which 0 is 0.
        zeros: Whether weights that are zero stay zero, for a pattern that kernels rely on.
        known: `ordered(hessian)`, for a matrix of which some rows are rounded at a time.

    Raises:
        LinAlgError: The moments are not finite, or have no factor for all the damping.
    """
    how = ordered(hessian) if known is None else known
    order, factor = how.columns, how.factor
    left = matrix.astype(np.float64)[:, order]
    free = None if not zeros else np.ascontiguousarray((left != 0).T)
    found = np.empty(matrix.shape[::-1], np.int16)
    inputs = matrix.shape[1]
    for start in range(0, inputs, LAZY):
        stop = min(start + LAZY, inputs)
        group = np.ascontiguousarray(left[:, start:stop].T)  # a column at a time lies together
        errors = np.empty_like(group)
        for place, column in enumerate(range(start, stop)):
            integers, reals = (
                one[:, 0] for one in nearest(group[place, :, None], int(order[column]))
            )
            if free is not None:
                integers, reals = (np.where(free[column], one, 0) for one in (integers, reals))
            found[order[column]] = integers
            errors[place] = (group[place] - reals) / factor[column, column]
            group[place:] -= factor[column, column:stop, None] * errors[place]
        left[:, stop:] -= np.ascontiguousarray(errors.T) @ factor[start:stop, stop:]
    return np.ascontiguousarray(found.T)


def output_error(difference: Doubles, hessian: Doubles) -> float:
    """tr(Δ·H·Δᵀ): the energy that Δ (n, k) makes of inputs with the moments H (k, k)."""
    return float(np.vdot(difference @ hessian, difference))


def _factor(hessian: Doubles) -> Doubles:
    """U with UᵀU = (H + damping)⁻¹, upper triangular.

    An input that is never anything but zero gets a 1: it is rounded by itself.
    """
    return inverse_factor(_damped(hessian))


def _damped(hessian: Doubles) -> Doubles:
    damped = hessian.astype(np.float64)
    diagonal = np.diag_indices_from(damped)
    dead = damped[diagonal] <= 0
    damped[diagonal] += DAMPING * damped[diagonal].mean()
    damped[dead, dead] = np.maximum(damped[dead, dead], 1.0)
    return damped
