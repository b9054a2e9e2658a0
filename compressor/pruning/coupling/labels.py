"""Labels of positions, joined by union-find: what carries one label is removed together.

Every dimension of every value holds an array of labels, one for each position. A label of 0 or
more is free and may be joined with others; a negative one is frozen from the start and stands for
its cause. Frozen labels join nothing: a position that meets one is frozen by that cause, and its
whole class with it, so that each class remembers the first node that froze it.

The joins are collected as edges and the classes found in one go, as connected components.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = npt.NDArray[np.int64]

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Cause:
    """Why positions are frozen: a node, and what about it."""

    node: str
    reason: str


@dataclass(frozen=True)
class Classes:
    """The classes of all labels once everything is joined.

    Attributes:
        roots: Label → the smallest label of its class, or -1 when the class is frozen.
        causes: Label → index of its cause, or -1.
    """

    roots: Ints
    causes: Ints

    def of(self, labels: Ints) -> Ints:
        """The class of each label, named by its smallest label; -1 where frozen."""
        found = np.full(labels.shape, -1, np.int64)
        free = labels >= 0
        found[free] = self.roots[labels[free]]
        return found

    def cause_of(self, labels: Ints) -> Ints:
        """The index of each label's cause; -1 where free."""
        found = -1 - labels
        free = labels >= 0
        found[free] = self.causes[labels[free]]
        return found


class Labels:
    """Makes labels and records which belong together."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []
        self._index: dict[Cause, int] = {}
        self._size = 0
        self._left: list[Ints] = []
        self._right: list[Ints] = []
        self._events: list[tuple[Ints, int]] = []

    def fresh(self, count: int) -> Ints:
        """New free labels."""
        self._size += count
        return np.arange(self._size - count, self._size)

    def frozen(self, count: int, cause: Cause) -> Ints:
        """Labels that are frozen from the start."""
        return np.full(count, -1 - self._number(cause), np.int64)

    def join(self, a: Ints, b: Ints) -> None:
        """Position by position, a and b are removed together; a frozen one freezes the other."""
        a, b = np.broadcast_arrays(a, b)
        both = (a >= 0) & (b >= 0) & (a != b)
        if both.any():
            self._left.append(a[both])
            self._right.append(b[both])
        for free, fixed in ((a, b), (b, a)):
            hit = (free >= 0) & (fixed < 0)
            for label in np.unique(fixed[hit]):
                self._events.append((free[hit & (fixed == label)], int(-1 - label)))

    def freeze(self, labels: Ints, cause: Cause) -> None:
        """These positions stay."""
        free = labels[labels >= 0]
        if free.size:
            self._events.append((free, self._number(cause)))

    def solve(self) -> Classes:
        """Find the classes of everything that was joined so far."""
        left, right = _joined(self._left), _joined(self._right)
        edges = coo_array((np.ones(left.size, np.bool_), (left, right)), (self._size, self._size))
        count, component = connected_components(edges, directed=False)
        smallest = np.full(count, _NEVER)
        np.minimum.at(smallest, component, np.arange(self._size))
        cause = np.full(count, _NEVER)
        for labels, index in self._events:
            np.minimum.at(cause, component[labels], index)
        frozen = cause != _NEVER
        roots = np.where(frozen, -1, smallest)[component]
        return Classes(roots, np.where(frozen, cause, -1)[component])

    def _number(self, cause: Cause) -> int:
        if cause not in self._index:
            self._index[cause] = len(self.causes)
            self.causes.append(cause)
        return self._index[cause]


def _joined(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
