"""Several units at a time: one call of the user's function, and the shapes that graphs see then."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from compressor.graph.tensors import Array, Arrays
from compressor.pipelines.loop import SEED, Loop
from exporters.base import CallShapes

Places = frozenset[tuple[str, int]]
"""Axes of inputs."""


class Together(Loop):
    """A loop that makes as many units as it is given seeds, from the first of these."""

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """`generate(models, seed, count)` once."""
        seeds = np.asarray(feeds[SEED]).reshape(-1)
        return self._loop.run(self._calls, int(seeds[0]), len(seeds))

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """Generate them, whatever comes out."""

        def run() -> None:
            self.run(feeds)

        return run


def of_several(
    seen: Mapping[CallShapes, int],
    alone: Sequence[CallShapes],
    several: Sequence[CallShapes],
    count: int,
) -> set[CallShapes]:
    """The shapes of calls for `count` units, as far as one run of them tells.

    Where every call is that of one unit with some axes `count` times as long, always the same ones,
    those axes count units: then all calls that were seen have such a form, too.

    Args:
        seen: Shapes of calls for one unit.
        alone: Shapes of the calls of one run for one unit, in order.
        several: Those of a run with the same seed for `count` units.
        count: How many.
    """
    if len(alone) != len(several):
        return set(several)
    places = {_longer(one, other, count) for one, other in zip(alone, several, strict=True)}
    found = places.pop() if len(places) == 1 else None
    return set(several) if found is None else {_lengthened(call, found, count) for call in seen}


def _longer(one: CallShapes, other: CallShapes, count: int) -> Places | None:
    """The axes that are `count` times as long; None where another length differs."""
    places = set[tuple[str, int]]()
    for (name, before), (same, after) in zip(one, other, strict=True):
        if name != same or len(before) != len(after):
            return None
        for axis, (size, longer) in enumerate(zip(before, after, strict=True)):
            if size == longer:
                continue
            if size * count != longer:
                return None
            places.add((name, axis))
    return frozenset(places)


def _lengthened(call: CallShapes, places: Places, count: int) -> CallShapes:
    def shape(name: str, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(s * count if (name, axis) in places else s for axis, s in enumerate(sizes))

    return tuple((name, shape(name, sizes)) for name, sizes in call)
