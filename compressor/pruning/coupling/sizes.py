"""Sizes that a graph computes for itself: numbers with the dimensions they come from.

Exporters read sizes with Shape, pick and combine them, and reshape by the result. After pruning
such a size follows the smaller tensors by itself, stored numbers among the computed ones have to
be rewritten, and where neither gives the right size the positions that it depends on must stay.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.pruning.coupling.labels import Classes, Ints

Sizes = npt.NDArray[np.object_]
"""An integer value of the graph; its elements are of type `ComputedSize`."""


@dataclass(frozen=True)
class ConstantOrigin:
    """A number in a constant: which node reads it at which input, and where in the flat array."""

    node: str
    input: int
    index: int


class PositionWeights:
    """Weights of the positions that can go, to tell whether two sizes are one polynomial.

    A size is a polynomial in the indicators of the classes. Two that agree at random points agree
    everywhere, except with probability zero (Schwartz 1980, Zippel 1979).
    """

    def __init__(self, classes: Classes, seed: int) -> None:
        self._classes = classes
        self._weights = np.random.default_rng(seed).uniform(0.5, 1.5, classes.roots.size + 1)
        self._weights[-1] = 1.0

    def total(self, labels: Ints) -> float:
        """The kept size of a dimension; a frozen position, of class -1, weighs 1."""
        return float(self._weights[self._classes.of(labels)].sum())


@dataclass(frozen=True, eq=False)
class ComputedSize:
    """A number that a graph computes from sizes.

    Attributes:
        number: Its value in the run that the shapes are of.
        formula: Its value for any weights of the positions; None when that is not known.
        labels: The dimensions that it depends on.
        origin: The stored number that it is, when it is one.
        dimension: Whether it is the size of the one dimension in `labels`.
    """

    number: int
    formula: Callable[[PositionWeights], float] | None
    labels: tuple[Ints, ...] = ()
    origin: ConstantOrigin | None = None
    dimension: bool = False

    @property
    def constant(self) -> bool:
        """Whether it is the same for every input and every pruning."""
        return self.formula is not None and not self.labels


def stored(number: int, origin: ConstantOrigin | None = None) -> ComputedSize:
    """A number of a constant."""
    return ComputedSize(number, lambda _: float(number), origin=origin)


def size_of(labels: Ints) -> ComputedSize:
    """The size of a dimension with these labels."""
    return ComputedSize(
        len(labels), lambda weights: weights.total(labels), (labels,), dimension=True
    )


def opaque(number: int, *parts: ComputedSize) -> ComputedSize:
    """A number computed from others in a way that is not followed."""
    return ComputedSize(number, None, tuple(labels for part in parts for labels in part.labels))


def combined(
    a: ComputedSize, b: ComputedSize, number: int, function: Callable[[float, float], float]
) -> ComputedSize:
    """A number computed from two others by arithmetic."""
    f, g = a.formula, b.formula
    if f is None or g is None:
        return opaque(number, a, b)
    return ComputedSize(
        number, lambda weights: function(f(weights), g(weights)), a.labels + b.labels
    )
