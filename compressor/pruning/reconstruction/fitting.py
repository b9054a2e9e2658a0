"""The fit of one layer: solved on some batches, judged on others, then solved on all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from compressor.layerwise.im2col import Doubles, Floats
from compressor.layerwise.layers import Layer
from compressor.layerwise.moments import Moments, Solution, solve
from compressor.pruning.reconstruction.problem import Piece, Problem

HELD = 4
"""Every fourth batch is held out."""

CONVOLUTION_RIDGES = (1e-3,)
PRODUCT_RIDGES = (1e-3, 1e-1)
"""λ that is tried for Gemm and MatMul: those of transformers have many columns for the rows that a
few samples give, and overfit with the smaller one; see `benchmarks/transformer_pruning.py`."""

Pick = Callable[[int], bool]
"""Chooses batches by number."""

ROUNDING = 1e-10
"""Error, relative to the variance, up to which a layer computes what it did but for rounding."""

WORTH = 0.01
"""Share of the error that a bias has to save in a layer that has none."""


@dataclass(frozen=True)
class Options:
    """Options of a layer's least-squares fit.

    Attributes:
        ridges: λ relative to the mean of G's diagonal; the best on held-out batches is taken. None
            for `CONVOLUTION_RIDGES` or `PRODUCT_RIDGES`, by the kind of the layer.
        prior: Whether λ shrinks towards the weights that the layer has; if not, towards zero.
    """

    ridges: tuple[float, ...] | None = None
    prior: bool = True

    def candidates(self, layer: Layer) -> tuple[float, ...]:
        """The ridges that are tried for a layer."""
        if self.ridges is not None:
            return self.ridges
        return CONVOLUTION_RIDGES if layer.kernel else PRODUCT_RIDGES


@dataclass(frozen=True)
class Fit:
    """The least-squares fit of a layer.

    Attributes:
        matrix: W, (groups, m, k).
        bias: b, (groups, m); None for a layer that has none and needs none.
        before: Held-out error of the layer as it was, relative to the variance of the targets.
        after: Error with the fit.
        ridge: λ.
        bytes: Bytes of the moments and what the solve copies of them.
        sparse: Whether the matrix has a pattern of zeros; `before` is of that pattern unfitted.
    """

    matrix: Doubles
    bias: Doubles | None
    before: float
    after: float
    ridge: float
    bytes: int
    sparse: bool = False

    @property
    def better(self) -> bool:
        """Whether the fit lowers the held-out error."""
        return self.after < self.before


def fit(problem: Problem, options: Options) -> Fit:
    """Fit a layer, and judge the fit by samples that it has not seen.

    Args:
        problem: The layer, its input and its target.
        options: The candidates.

    Returns:
        The best candidate, solved again with all samples; where none is better than the layer as
        it is, that candidate as it was solved.
    """
    layer = problem.layer
    present: Solution = layer.matrix(), layer.bias()
    prior = present[0] if options.prior else None
    seen, held = divided(len(problem))
    moments = seen_moments(problem, seen)
    has_bias = layer.bias_value is not None
    ridges = options.candidates(layer)
    choices = [(r, affine) for r in ridges for affine in ({True, has_bias})]
    solved = [solve(moments, ridge, prior, affine=affine) for ridge, affine in choices]
    before, *errors = judged(problem, held, [present, *solved], moments)
    best = min(
        range(len(choices)),
        key=lambda i: errors[i] * (1 if choices[i][1] == has_bias else 1 + WORTH),
    )
    matrix, bias = solved[best]
    ridge, affine = choices[best]
    if errors[best] < before:
        matrix, bias = solve(moments, ridge, prior, affine=affine)
    size = 2 * moments.xx.nbytes + 3 * moments.yx.nbytes
    return Fit(matrix, bias if affine else None, before, errors[best], ridge, size)


def is_exact(problem: Problem) -> bool:
    """Whether a layer as it is makes what it should on a batch that would judge its fit."""
    layer, held = problem.layer, divided(len(problem))[1]
    first = next(batch for batch in range(len(problem)) if held(batch))
    present: Solution = layer.matrix(), layer.bias()
    for piece in problem.pieces(lambda batch: batch == first):
        spread = _squares(piece.targets - piece.targets.mean(1, keepdims=True))
        if not _squares(piece.targets - _predicted(piece, present)) <= ROUNDING * spread:
            return False
    return True


def divided(batches: int) -> tuple[Pick, Pick]:
    """Which batches the solve sees, and which judge it: every fourth, or the last of fewer.

    A single batch, all that a graph with a large batch baked in may have, is both.
    """
    if batches == 1:
        return (lambda batch: True), (lambda batch: True)
    last = HELD - 1 if batches >= HELD else batches - 1
    every = min(HELD, batches)
    return (lambda batch: batch % every != last), (lambda batch: batch % every == last)


def batch_for(samples: int, most: int) -> int:
    """Samples per batch, so few that there is a batch to hold out wherever there are enough."""
    return max(1, min(most, samples // HELD))


def seen_moments(problem: Problem, pick: Pick) -> Moments:
    """Moments of the rows and targets of some batches."""
    moments: Moments | None = None
    for piece in problem.pieces(pick):
        if moments is None:
            x0 = piece.rows.mean(1, dtype=np.float64)
            moments = Moments.about(x0, piece.targets.mean(1, dtype=np.float64))
        moments.add(piece.rows, piece.targets)
    assert moments is not None, "a set is never empty"
    return moments


def judged(
    problem: Problem,
    pick: Pick,
    candidates: Sequence[Solution],
    moments: Moments,
) -> list[float]:
    """Σ ‖y* - W·x - b‖² of each, relative to Σ ‖y* - ȳ*‖²; what was judged on joins the moments."""
    totals = np.zeros(len(candidates))
    center = moments.y0 + moments.y / moments.count
    spread = 0.0
    for piece in problem.pieces(pick):
        totals += [_squares(piece.targets - _predicted(piece, one)) for one in candidates]
        spread += _squares(piece.targets - center[:, None].astype(piece.targets.dtype))
        if len(problem) > 1:
            moments.add(piece.rows, piece.targets)
    return [float(total) / max(spread, np.finfo(np.float64).tiny) for total in totals]


def _predicted(piece: Piece, candidate: Solution) -> Floats:
    matrix, bias = (part.astype(piece.rows.dtype) for part in candidate)
    made: Floats = piece.rows @ matrix.swapaxes(1, 2) + bias[:, None]
    return made


def _squares(array: Floats) -> float:
    return float(np.vdot(array, array))
