"""A repair that spans two convolutions: the first is moved so that what the second makes fits.

Refitting one layer to its own output keeps the filters that it happens to have. Where a Relu and
one more convolution follow, the error behind that one says how the first should change:

    g = W₂ᵀ∘e ⊙ 1[z > 0],   W₁ ← W₁ + η·A⁻¹(Σ g·x̃ᵀ)(G + λI)⁻¹

with e the error of the second layer's output, z the first one's, G its Gram matrix and A the
curvature that W₂ gives each pair of its outputs: a natural-gradient step on a quadratic (K-FAC,
Martens and Grosse 2015, arXiv 1503.05671; Grosse and Martens 2016, arXiv 1602.01407). The second
layer is solved anew after each step.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from compressor.layerwise.im2col import Doubles, Floats, Sliding
from compressor.layerwise.layers import Layer
from compressor.layerwise.moments import Moments, Solution, damped
from compressor.pruning.reconstruction.fitting import Fit, Options, Pick, divided, fit
from compressor.pruning.reconstruction.problem import FEW, Problem

RIDGE = 1e-2
"""λ of both curvatures, relative to the mean of their diagonals."""

STEPS = (1.0, 0.3)
"""η, the first that lowers the error."""

WORTH = 0.02
"""Share of the error that a step has to save for another to follow."""

Write = Callable[[Layer, Solution], None]

EXACT = 1e-6
"""Relative error below which there is nothing to repair."""


def second_of(layer: Layer, layers: Mapping[str, Layer]) -> Layer | None:
    """The convolution that alone reads a convolution's output behind a Relu; None without one."""
    if layer.kind != "Conv" or layer.groups > 1:
        return None
    value = layer.output
    if len(value.uses()) != 1 or value.is_graph_output():
        return None
    relu = value.consumers()[0]
    if relu.op_type != "Relu" or len(relu.outputs[0].uses()) != 1:
        return None
    second = layers.get(relu.outputs[0].consumers()[0].name or "")
    if second is None or second.kind != "Conv" or second.groups > 1:
        return None
    return second if second.input is relu.outputs[0] else None


@dataclass(frozen=True)
class LayerPair:
    """Two layers and the problem of the second, with the frontier in front of the first."""

    first: Layer
    second: Layer
    problem: Problem
    write: Write

    def improve(self, options: Options, rounds: int) -> tuple[Fit, int]:
        """Solve the second, then step and solve again while that lowers the held-out error.

        Args:
            options: Options of the solve.
            rounds: Steps at most.

        Returns:
            The second layer's fit, its error before anything was done, and the steps taken.
        """
        first = best = self._solve(options)
        for taken in range(rounds):
            found = self._stepped(best, options) if best.after > EXACT else None
            if found is None:
                return replace(best, before=first.before), taken
            gained, best = best.after - found.after, found
            if gained < WORTH * best.after:
                return replace(best, before=first.before), taken + 1
        return replace(best, before=first.before), rounds

    def _stepped(self, best: Fit, options: Options) -> Fit | None:
        """One step and a new solve; None, and everything as before, when none is better."""
        layers = (self.first, self.second)
        kept = [(one.matrix(), one.bias()) for one in layers]
        move, shift = self._step()
        for size in STEPS:
            matrix, bias = kept[0]
            self.write(self.first, (matrix + size * move, bias + size * shift))
            found = self._solve(options)
            if found.after < best.after:
                return found
            for one, solution in zip(layers, kept, strict=True):
                self.write(one, solution)
        return None

    def _solve(self, options: Options) -> Fit:
        found = fit(self.problem, options)
        if found.better:
            bias = self.second.bias() if found.bias is None else found.bias
            self.write(self.second, (found.matrix, bias))
        return replace(found, after=min(found.before, found.after))

    def _step(self) -> Solution:
        """The move of W₁ and b₁ that a quadratic model asks for."""
        x, z = self.first.input.name or "", self.first.output.name or ""
        o = self.second.output.name or ""
        weight = self.second.weight
        sliding = Sliding(self.second.node, self.second.kernel)
        seen = self._stepping()
        moments: Moments | None = None
        open_pairs = np.zeros((self.second.weight.shape[1],) * 2)
        batches = self.problem.batches(seen, [x, z, o])
        for number, (now, wanted) in zip(self.problem.numbers(seen), batches, strict=True):
            gradient = sliding.adjoint(wanted - now[o], now[z].shape, weight) * (now[z] > 0)
            for part, rows in self.problem.rows(self.first, now[x], number):
                targets = self.first.targets(gradient, part)
                if moments is None:
                    origin = rows.mean(1, dtype=np.float64)
                    moments = Moments.about(origin, np.zeros((1, targets.shape[2])))
                moments.add(rows, targets)
                active = (self.first.targets(now[z], part)[0] > 0).astype(rows.dtype)
                open_pairs += active.T @ active
        assert moments is not None
        return _natural(moments, open_pairs / moments.count, weight)

    def _stepping(self) -> Pick:
        """The batches that tell a step: half of those seen, where rows are drawn of all."""
        seen, _ = divided(len(self.problem))
        numbers = self.problem.numbers(seen)
        if self.problem.most is None or self.problem.is_halved or len(numbers) < FEW:
            return seen
        return set(numbers[::2]).__contains__


def _natural(moments: Moments, open_pairs: Doubles, weight: Floats) -> Solution:
    flat = np.moveaxis(weight.astype(np.float64), 1, 0).reshape(weight.shape[1], -1)
    curvature = damped(flat @ flat.T * open_pairs, RIDGE)
    gram, cross = moments.centred()
    inner = np.linalg.solve(damped(gram[0], RIDGE), cross[0].T).T
    move = np.linalg.solve(curvature, inner).astype(np.float64)
    x, g = moments.mean()
    shift = np.linalg.solve(curvature, g[0]).astype(np.float64) - move @ x[0]
    return move[None], shift[None]
