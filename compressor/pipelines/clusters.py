"""Kinds of units among those that differ most: their error lies in the same places.

Units are described by the square roots of the shares of their error in each place, so that
distances are those of Hellinger; Ward's method joins them (1963). There are as many clusters, up to
`MOST`, as have the greatest mean silhouette (Rousseeuw 1987), and one where that is small: units
that are all alike, or of which none is like another, are not torn apart.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.graph.tensors import Array
from compressor.pipelines.profiles import (
    SIDE,
    FloatArray,
    error_of,
    is_picture,
    is_row,
    profile_of,
    words_of,
)
from compressor.results.pipeline import GeneratedUnit, UnitCluster

WORST = 0.25
"""Share of the units that is looked into."""
LEAST = 8
"""Units of it: of fewer no kinds are told."""
MOST = 4
SURE = 0.3
"""Mean silhouette from which there are several."""
HELD = 0.6
"""Share of the error from which it is said where that lies."""
ALIKE, SELDOM = 0.8, 0.5
"""Share of a cluster that has a value, and of the others that have it at most, to be told."""


@dataclass(frozen=True, eq=False)
class Seen:
    """A unit as clusters see it.

    Attributes:
        seed: Its seed.
        error: How far it is from the original's.
        profile: Where the error lies; None where there is none.
        picture: Whether those are places of an image.
        values: What else the loop returned of it that is one value, such as a class.
    """

    seed: int
    error: float
    profile: FloatArray | None
    picture: bool
    values: Mapping[str, object]

    @classmethod
    def of(
        cls, seed: int, before: Mapping[str, Array], after: Mapping[str, Array], output: str
    ) -> "Seen":
        """What is kept of the two forms of a unit."""
        one, other = before[output], after[output]
        values: dict[str, object] = {
            name: array.reshape(-1)[0].item()
            for name, array in before.items()
            if name != output and array.size == 1 and array.dtype.kind in "biufU"
        }
        if is_row(one):
            values["length"] = len(words_of(one))
        return cls(seed, error_of(one, other), profile_of(one, other), is_picture(one), values)


def clusters(
    seen: Sequence[Seen], example: Callable[[int], GeneratedUnit]
) -> tuple[UnitCluster, ...]:
    """Kinds of units among those that differ most, the largest first.

    Args:
        seen: All that were looked at.
        example: From a seed to the unit, as it is shown.
    """
    count = max(LEAST, round(WORST * len(seen)))
    worst = sorted((one for one in seen if one.profile is not None), key=lambda one: -one.error)
    worst = worst[:count]
    if len(worst) < LEAST:
        return ()
    points = np.sqrt(np.array([one.profile for one in worst], np.float64))
    labels = _labels(points)
    found = []
    for label in dict.fromkeys(labels.tolist()):
        inside = np.flatnonzero(labels == label)
        own = [worst[i] for i in inside]
        middle = np.linalg.norm(points[inside] - points[inside].mean(0), axis=1)
        others = [one for one in seen if one not in own]
        found.append(
            UnitCluster(
                units=len(own),
                share=len(own) / len(worst),
                error=float(np.mean([one.error for one in own])),
                example=example(own[int(np.argmin(middle))].seed),
                common=(*_places(own), *_values(own, others)),
            )
        )
    if len(found) == 1 and not found[0].common:
        return ()  # all alike in nothing that can be told
    return tuple(sorted(found, key=lambda one: -one.units))


def _labels(points: FloatArray) -> npt.NDArray[np.int64]:
    """The cluster of each point."""
    from scipy.cluster.hierarchy import fcluster, linkage  # noqa: PLC0415 - seldom needed
    from scipy.spatial.distance import pdist, squareform  # noqa: PLC0415 - likewise

    between = squareform(pdist(points))
    single = np.ones(len(points), np.int64)
    if between.max() < 1e-9:
        return single
    tree = linkage(points, "ward")
    tried = [np.asarray(fcluster(tree, n, "maxclust"), np.int64) for n in range(2, MOST + 1)]
    several = [labels for labels in tried if np.bincount(labels)[1:].min() > 1]  # one is no kind
    best = max(several, key=lambda labels: _silhouette(between, labels), default=single)
    return best if _silhouette(between, best) >= SURE else single


def _silhouette(between: FloatArray, labels: npt.NDArray[np.int64]) -> float:
    """Mean over points of (b - a) / max(a, b): a to the own cluster, b to the nearest other.

    A point that is alone counts 0, and so do labels of one kind only.
    """
    kinds = np.unique(labels)
    if len(kinds) < 2:
        return 0.0
    total = 0.0
    for point, label in enumerate(labels):
        own = np.flatnonzero(labels == label)
        if len(own) < 2:
            continue
        inside = between[point, own].sum() / (len(own) - 1)
        outside = min(between[point, labels == kind].mean() for kind in kinds if kind != label)
        total += (outside - inside) / max(outside, inside, 1e-12)
    return float(total / len(labels))


def _places(own: Sequence[Seen]) -> tuple[str, ...]:
    """Where most of the error lies, if it lies somewhere."""
    mean = np.mean([one.profile for one in own if one.profile is not None], axis=0)
    if own[0].picture:
        grid = mean.reshape(SIDE, SIDE)
        half = SIDE // 2
        sides = {
            "upper half": grid[:half].sum(),
            "lower half": grid[half:].sum(),
            "left half": grid[:, :half].sum(),
            "right half": grid[:, half:].sum(),
            "middle": grid[1:-1, 1:-1].sum(),
        }
        side = max(sides, key=lambda name: float(sides[name]))
        if sides[side] < HELD:
            return ()
        return (f"{100 * sides[side]:.0f} % of the error lies in the {side} of the image",)
    first, last = _shortest(mean)
    if last - first > len(mean) / 2:
        return ()
    held = 100 * mean[first:last].sum()
    begin, end = (100 * place / len(mean) for place in (first, last))
    return (f"{held:.0f} % of the error lies from {begin:.0f} to {end:.0f} % of the length",)


def _shortest(mean: FloatArray) -> tuple[int, int]:
    """The shortest stretch of places with `HELD` of the error."""
    sums = np.concatenate([[0.0], np.cumsum(mean)])
    stretches = (
        (last - first, first, last)
        for first in range(len(mean))
        for last in range(first + 1, len(mean) + 1)
        if sums[last] - sums[first] >= HELD - 1e-9
    )
    _, first, last = min(stretches)
    return first, last


def _values(own: Sequence[Seen], others: Sequence[Seen]) -> tuple[str, ...]:
    """Values that most of them have and few others."""
    said = []
    for name in own[0].values:
        mine, theirs = (
            [one.values[name] for one in some if name in one.values] for some in (own, others)
        )
        if any(isinstance(value, float) for value in mine):
            continue
        value, count = Counter(mine).most_common(1)[0]
        among = theirs.count(value)
        if count >= ALIKE * len(own) and among <= SELDOM * len(theirs) and theirs:
            told = f"{name} is {value} in {count} of {len(own)}"
            said.append(f"{told}, and in {among} of {len(theirs)} others")
    return tuple(said)
