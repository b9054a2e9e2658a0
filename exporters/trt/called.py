"""Profiles from the calls of a loop: the shapes that it fed its graph, together as they came.

Sizes hang together: of a decoder `mask = past + sequence`, whatever the loop does. The least of
each by itself, 1 of sequence, 0 of past and 64 of mask, is no call at all, and a builder refuses a
profile with such ends. What holds for all calls that were seen is found in their numbers: one size
is the sum of two others and a constant, or their product times one. Calls are divided until the
least and the greatest sizes of each part keep to that: a prompt behind an empty cache is one
profile, a token behind a growing one another, and each is tuned for its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations_with_replacement
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from exporters.base import CallShapes
from exporters.trt.notation import Profile, Span

MOST = 4
"""Profiles of an engine: each takes memory, and time to build. Where calls need more, one serves
from the least size of each axis to the greatest."""

_Row = tuple[int, ...]
"""The sizes of all axes of a call, one input after the other."""
_Sizes = npt.NDArray[np.int64]


def profiles_of_calls(names: Sequence[str], calls: Mapping[CallShapes, int]) -> tuple[Profile, ...]:
    """The profiles of some inputs, the one for most calls first.

    Args:
        names: Inputs with open sizes.
        calls: Shapes of the inputs of a call → how many calls had them. All have the same ranks.
    """
    counts: dict[_Row, int] = {}
    ranks = [len(dict(next(iter(calls)))[name]) for name in names]
    for call, count in calls.items():
        shapes = dict(call)
        row = tuple(size for name in names for size in shapes[name])
        counts[row] = counts.get(row, 0) + count
    parts = _divided(list(counts))
    parts.sort(key=lambda part: -sum(counts[row] for row in part))
    return tuple(_profile(names, ranks, part, counts) for part in parts)


def _profile(
    names: Sequence[str], ranks: Sequence[int], part: Sequence[_Row], counts: Mapping[_Row, int]
) -> Profile:
    """From the least to the greatest, tuned for the call in the middle by size."""
    sizes = np.array(part, np.int64)
    by_size = sorted(part, key=lambda row: (sum(row), row))
    reached = np.cumsum([counts[row] for row in by_size])
    likely = by_size[int(np.searchsorted(reached, (reached[-1] + 1) // 2))]
    places = np.cumsum([0, *ranks])
    ends = (tuple(sizes.min(0).tolist()), likely, tuple(sizes.max(0).tolist()))
    return {
        name: Span(*(row[first:last] for row in ends))
        for name, first, last in zip(names, places[:-1], places[1:], strict=True)
    }


class _Relation(NamedTuple):
    """size[whole] = size[one] + size[other] + rest, or size[one] · size[other] · rest."""

    whole: int
    one: int
    other: int
    product: bool
    rest: float

    def holds(self, row: _Sizes) -> bool:
        one, other, whole = row[self.one], row[self.other], row[self.whole]
        if self.product:
            return bool(np.isclose(whole, one * other * self.rest))
        return bool(whole == one + other + self.rest)


def _relations(sizes: _Sizes) -> list[_Relation]:
    """What the sizes of all calls (calls, axes) keep to, of those that vary."""
    _, first = np.unique(
        sizes, axis=1, return_index=True
    )  # an axis of each of those that are equal
    varied = [int(axis) for axis in sorted(first) if np.ptp(sizes[:, axis])]
    found = []
    for one, other in combinations_with_replacement(varied, 2):
        sums, products = (sizes[:, one] + sizes[:, other], sizes[:, one] * sizes[:, other])
        for whole in varied:
            if whole in (one, other):
                continue
            rest = sizes[:, whole] - sums
            if not np.ptp(rest):
                found.append(_Relation(whole, one, other, False, float(rest[0])))
            elif products.all() and not np.ptp(shares := sizes[:, whole] / products):
                found.append(_Relation(whole, one, other, True, float(shares[0])))
    return found


class _Part:
    """Calls that share a profile."""

    def __init__(self, rows: Iterable[_Row]) -> None:
        self.rows = list(rows)
        sizes = np.array(self.rows, np.int64)
        self.least, self.most = sizes.min(0), sizes.max(0)

    def fits(self, other: "_Part", relations: Sequence[_Relation]) -> bool:
        """Whether the ends of both together keep to the relations."""
        ends = np.minimum(self.least, other.least), np.maximum(self.most, other.most)
        return all(relation.holds(end) for relation in relations for end in ends)

    def add(self, other: "_Part") -> None:
        """Join the calls of another part."""
        self.rows += other.rows
        self.least = np.minimum(self.least, other.least)
        self.most = np.maximum(self.most, other.most)


def _divided(rows: list[_Row]) -> list[list[_Row]]:
    """Parts whose least and greatest sizes keep to what all calls do; one where it takes many."""
    relations = _relations(np.array(rows, np.int64))
    parts: list[_Part] = []
    for row in sorted(rows, key=lambda row: (sum(row), row)):
        alone = _Part([row])
        part = next((one for one in parts if one.fits(alone, relations)), None)
        if part is not None:
            part.add(alone)
        elif len(parts) < MOST * MOST:
            parts.append(alone)
        else:
            return [rows]
    found = _joined(parts, relations)
    return [part.rows for part in found] if len(found) <= MOST else [rows]


def _joined(parts: Iterable[_Part], relations: Sequence[_Relation]) -> list[_Part]:
    """As few as come of joining two at a time."""
    found: list[_Part] = []
    for part in parts:
        while (
            other := next((one for one in found if one.fits(part, relations)), None)
        ) is not None:
            found.remove(other)
            part.add(other)
        found.append(part)
    return found
