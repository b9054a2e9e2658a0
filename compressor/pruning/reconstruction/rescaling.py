"""Factors and shifts of a norm fitted to what the original makes, channel by channel.

    min over a, c of Σ (a·y + c - y*)² + λ(a - 1)²,   γ′ = a·γ,   β′ = a·β + c

with y what the pruned graph makes and y* what the original does, so that nothing but the node's
output has to be known:

    a = 1 + (cov(y, y*) - var(y)) / (var(y) + λ),   c = ȳ* - a·ȳ
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from calibration.frontier import Frontier
from compressor.layerwise.im2col import Doubles, Floats
from compressor.pruning.reconstruction.affine import NormAffine
from compressor.pruning.reconstruction.fitting import Pick, divided
from compressor.pruning.reconstruction.restriction import Restriction

RIDGE = 1e-3
"""λ relative to the mean of var(y) over the channels."""


@dataclass(frozen=True)
class Rescaled:
    """Factors and shifts of a norm, fitted anew.

    Attributes:
        scale: γ′, (channels,).
        shift: β′, (channels,); None where there is no β.
        before: Held-out error of the output as it was, relative to the variance of the target.
        after: Held-out error with γ′ and β′.
        ridge: λ, relative.
        bytes: Bytes of the sums.
    """

    scale: Doubles
    shift: Doubles | None
    before: float
    after: float
    ridge: float
    bytes: int

    @property
    def better(self) -> bool:
        """Whether the held-out error is lower."""
        return self.after < self.before


@dataclass(frozen=True)
class Rescaling:
    """Affine terms, and where their output and its target come from.

    Attributes:
        affine: The norm's factors and shifts in the pruned graph.
        then: The original.
        now: The pruned graph.
        restriction: Maps values of the original to those of the pruned graph.
        aim: The value of the original that the output should equal.
    """

    affine: NormAffine
    then: Frontier
    now: Frontier
    restriction: Restriction
    aim: str

    def solve(self) -> Rescaled:
        """Solve on some batches, judge on others, and where that helps solve on all."""
        affine = self.affine
        seen, held = divided(len(self.now))
        sums = _Sums(with_shift=affine.shift is not None)
        for y, target in self._rows(seen):
            sums.add(y, target)
        a, c = sums.solution()
        center = sums.target / sums.count
        before = after = spread = 0.0
        for y, target in self._rows(held):
            before += _squares(y - target)
            after += _squares(a * y + c - target)
            spread += _squares(target - center)
            if len(self.now) > 1:
                sums.add(y, target)
        if after < before:
            a, c = sums.solution()
        spread = max(spread, float(np.finfo(np.float64).tiny))
        shift = None if affine.shift is None else a * affine.shift + c
        size = 5 * a.nbytes
        return Rescaled(a * affine.scale, shift, before / spread, after / spread, RIDGE, size)

    def _rows(self, pick: Pick) -> Iterator[tuple[Doubles, Doubles]]:
        """What is made and what should be, (rows, channels) each."""
        name, axis = self.affine.output.name or "", self.affine.axis
        sides = zip(
            self.now.batches([name], pick), self.then.batches([self.aim], pick), strict=True
        )
        for now, then in sides:
            wanted = self.restriction(name, then[self.aim])
            yield _by_channel(now[name], axis), _by_channel(wanted, axis)


class _Sums:
    """Sums over rows for each channel: of y, y*, y² and y·y*."""

    def __init__(self, *, with_shift: bool) -> None:
        self.count = 0
        self.target: Doubles = np.zeros(1)
        self._with_shift = with_shift
        self._y: Doubles = np.zeros(1)
        self._yy: Doubles = np.zeros(1)
        self._yt: Doubles = np.zeros(1)

    def add(self, y: Doubles, target: Doubles) -> None:
        """See rows."""
        self.count += len(y)
        self.target = self.target + target.sum(0)
        self._y = self._y + y.sum(0)
        self._yy = self._yy + (y * y).sum(0)
        self._yt = self._yt + (y * target).sum(0)

    def solution(self) -> tuple[Doubles, Doubles]:
        """The a and c, (channels,) each; c is 0 where there is no shift."""
        var, cov = self._yy, self._yt
        if self._with_shift:
            var = var - self._y**2 / self.count
            cov = cov - self._y * self.target / self.count
        var = np.maximum(var, 0)
        damped = var + max(RIDGE * float(var.mean()), float(np.finfo(np.float64).tiny))
        a: Doubles = 1 + (cov - var) / damped
        if not self._with_shift:
            return a, np.zeros_like(a)
        return a, (self.target - a * self._y) / self.count


def _by_channel(array: Floats, axis: int) -> Doubles:
    channels = array.shape[axis]
    return np.moveaxis(array, axis, -1).reshape(-1, channels).astype(np.float64)


def _squares(array: Doubles) -> float:
    return float(np.vdot(array, array))
