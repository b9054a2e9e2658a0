"""2:4 sparsity: of every four neighbouring input channels of a weight two stay, refitted.

Which two is chosen column by column, each choice made up for by the columns that are still to come
(SparseGPT: Frantar and Alistarh 2023, arXiv 2301.00774, algorithm 1). With H the second moments of
the rows, H⁻¹ = UᵀU, and B = U_qᵀU_q what is left of H⁻¹ at the four columns q when those before
them are settled, letting the pair p go costs

    w_p [B_pp]⁻¹ w_pᵀ

and the cheapest of the six pairs goes. What stays is then the least-squares solution on its own
columns, by conjugate gradients: tr((W - W*)·H·(W - W*)ᵀ) is least but for what a step more would
hardly change, with W* the solution that has all columns.

A row is channel-major for a convolution, so that the four neighbours of one kernel position are as
far apart as the kernel has positions.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from compressor.layerwise.factor import LAZY, WIDEST, inverse_factor
from compressor.layerwise.im2col import Doubles
from compressor.layerwise.layers import Layer
from compressor.layerwise.moments import Moments, Solution, damped, solve
from compressor.pruning.reconstruction.fitting import Fit, Options, divided, judged, seen_moments
from compressor.pruning.reconstruction.problem import Problem

Kept = npt.NDArray[np.bool_]

GROUP = 4
"""Neighbours of which half stay."""

_PAIRS = np.array(list(combinations(range(GROUP), 2)))
_STEPS = 40
_ROUGH, _FINE = 1e-2, 1e-4
"""Share of the error that a step of conjugate gradients has to save for another to follow, where
ridges are compared and in what is kept."""
_TINY = np.finfo(np.float32).tiny


def why_not_eligible(layer: Layer) -> str | None:
    """Why a layer cannot have the pattern; None where it can."""
    if layer.kind == "ConvTranspose":
        return "a transposed convolution has no sparse kernel"
    if layer.groups > 1:
        return f"its channels are in {layer.groups} groups"
    channels = layer.width // layer.columns_per_channel
    if channels % GROUP:
        return f"{channels} input channels are no multiple of {GROUP}"
    if len(layer.weight_value.uses()) > 1:
        return "its weight has other readers"
    if layer.width > WIDEST:
        return f"rows of {layer.width:,} inputs take too long to solve: {WIDEST:,} are the most"
    return None


def sparse_fit(problem: Problem, options: Options) -> Fit:
    """The layer with the pattern, as near to its targets as that allows.

    Each of the ridges of `options` gives a solution from some of the batches, a rough one where
    there are several; the best on the others is made again from all. The largest weights as they
    are compete, too.

    Args:
        problem: The layer, its input and its target.
        options: How it is fitted.

    Returns:
        The fit; `before` is the error of the largest weights as they are.
    """
    layer = problem.layer
    present: Solution = layer.matrix(), layer.bias()
    seen, held = divided(len(problem))
    moments = seen_moments(problem, seen)
    order = _neighbours(layer)
    largest = present[0] * _largest(present[0], order)
    affine = layer.bias_value is not None
    ridges = options.candidates(layer)
    worth = _ROUGH if len(ridges) > 1 else _FINE
    solved = [_solved(moments, r, present[0], order, affine=affine, worth=worth) for r in ridges]
    before, *errors = judged(problem, held, [(largest, present[1]), *solved], moments)
    best = int(np.argmin(errors))
    matrix, bias = largest, present[1]
    if errors[best] < before:
        matrix, bias = _solved(moments, ridges[best], present[0], order, affine=affine)
    size = 4 * moments.xx.nbytes + 6 * moments.yx.nbytes
    after = min(before, errors[best])
    return Fit(matrix, bias if affine else None, before, after, ridges[best], size, sparse=True)


def sparsified(aim: Doubles, gram: Doubles, order: Sequence[int], worth: float = _FINE) -> Doubles:
    """The matrix with the pattern that is near to `aim` in the outputs.

    Args:
        aim: W*, (m, k).
        gram: H, (k, k), positive definite.
        order: The columns, four neighbours after the other.
        worth: Share of the error that a step of the refit has to save for another to follow.
    """
    columns = np.asarray(order)
    h = gram[np.ix_(columns, columns)]
    start, kept = _settled(aim[:, columns], h)
    found = np.empty_like(aim)
    found[:, columns] = _refitted(start, aim[:, columns], h, kept, worth)
    return found


def _neighbours(layer: Layer) -> list[int]:
    """Columns in an order in which the four neighbours of a kernel position follow each other."""
    places = np.arange(layer.width).reshape(-1, layer.columns_per_channel)
    return [int(place) for place in places.T.reshape(-1)]


def _largest(matrix: Doubles, order: Sequence[int]) -> Kept:
    """The two largest of each four."""
    quads = np.abs(matrix[0][:, order]).reshape(len(matrix[0]), -1, GROUP)
    ranks = np.argsort(np.argsort(-quads, axis=-1, kind="stable"), axis=-1, kind="stable")
    kept = np.empty(matrix.shape, bool)
    kept[0][:, order] = (ranks < GROUP // 2).reshape(len(matrix[0]), -1)
    return kept


def _solved(
    moments: Moments,
    ridge: float,
    prior: Doubles,
    order: Sequence[int],
    *,
    affine: bool,
    worth: float = _FINE,
) -> Solution:
    """The pattern and its refit; the bias makes up for the means."""
    aim, bias = solve(moments, ridge, prior, affine=affine)
    gram, _ = moments.centred() if affine else moments.raw()
    matrix = sparsified(aim[0], damped(gram[0], ridge), order, worth)[None]
    if affine:
        x, y = moments.mean()
        bias = y - np.einsum("gmk,gk->gm", matrix, x)
    return matrix, bias


def _settled(aim: Doubles, gram: Doubles) -> tuple[Doubles, Kept]:
    """Column by column: the matrix, and what stays of it."""
    left, factor = aim.copy(), inverse_factor(gram)
    kept = np.ones(left.shape, bool)
    width = left.shape[1]
    for start in range(0, width, LAZY):
        stop = min(start + LAZY, width)
        errors = np.zeros((len(left), stop - start))
        for first in range(start, stop, GROUP):
            end = first + GROUP
            quad = slice(first, end)
            kept[:, quad] = _cheapest(left[:, quad], factor[quad, quad])
            for column in range(first, end):
                error = np.where(kept[:, column], 0, left[:, column]) / factor[column, column]
                left[:, column:end] -= error[:, None] * factor[column, column:end]
                errors[:, column - start] = error
            left[:, end:stop] -= errors[:, first - start : end - start] @ factor[quad, end:stop]
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    return left * kept, kept


def _cheapest(values: Doubles, factor: Doubles) -> Kept:
    """The two of each row of four that stay when the cheapest pair goes."""
    inverse = factor.T @ factor
    blocks = np.linalg.inv(inverse[_PAIRS[:, :, None], _PAIRS[:, None, :]])
    pairs = values[:, _PAIRS]
    costs = np.einsum("npi,pij,npj->np", pairs, blocks, pairs)
    kept = np.ones(values.shape, bool)
    np.put_along_axis(kept, _PAIRS[costs.argmin(1)], False, axis=1)
    return kept


def _refitted(start: Doubles, aim: Doubles, gram: Doubles, kept: Kept, worth: float) -> Doubles:
    """Least squares on what stays of each row, by conjugate gradients on all rows at once.

    A step lowers a row's error by its length times the energy of the residual. float32 is enough
    for the steps that are worth it, in units in which squares neither vanish nor overflow.
    """
    h = (gram / np.diag(gram).mean()).astype(np.float32)
    found, diagonal = start.astype(np.float32), np.diag(h)
    missing = aim.astype(np.float32) - found
    residual = missing @ h
    error = float(np.vdot(missing, residual))
    residual *= kept
    step = residual / diagonal
    energy = np.einsum("mk,mk->m", residual, step)
    for _ in range(_STEPS):
        pushed = (step @ h) * kept
        curved = np.maximum(np.einsum("mk,mk->m", step, pushed), _TINY)
        length = energy / curved
        found += length[:, None] * step
        gained = float(length @ energy)
        error -= gained
        if gained <= worth * error:
            break
        residual -= length[:, None] * pushed
        scaled = residual / diagonal
        later = np.einsum("mk,mk->m", residual, scaled)
        step = scaled + (later / np.maximum(energy, _TINY))[:, None] * step
        energy = later
    return found.astype(np.float64)
