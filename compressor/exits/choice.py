"""Which exits, and how sure a sample has to be at each: the less that is computed, the better.

With the costs c of leaving at each exit, 1 at the end, what is made small is the mean over samples
of c + λ · (the answer is another than the whole graph's). Each λ gives a choice; small ones leave
early and often wrongly. A quality budget says which λ may be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

LEVELS = 40
"""Thresholds that are tried at an exit: quantiles of how sure samples are there."""
PASSES = 3
LAMBDAS = tuple(float(one) for one in np.geomspace(0.3, 1000, 28))
NEVER = 2.0
"""A threshold above every share."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What samples get at one place.

    Attributes:
        cost: Of what is computed until then, where all of it is 1.
        sure: (samples,) The share of the best class.
        differs: (samples,) Whether that is another class than the whole graph's.
    """

    cost: float
    sure: Floats
    differs: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """Some of the places, in order, with their thresholds, and what that comes to.

    Attributes:
        places: Which they are.
        thresholds: Of each.
        cost: The mean over samples.
        errors: Share of the samples whose answer differs.
    """

    places: tuple[int, ...]
    thresholds: tuple[float, ...]
    cost: float
    errors: float


def choices(seen: Sequence[Seen], most: int, overhead: float) -> list[Choice]:
    """What could ship, each cheaper than the one before, and with no fewer errors.

    Args:
        seen: All places, in order.
        most: Exits at most.
        overhead: What passing an exit costs, as a share of the whole.
    """
    found: dict[tuple[tuple[int, ...], tuple[float, ...]], Choice] = {}
    for weight in LAMBDAS:
        one = _best(seen, most, weight, overhead)
        if one.places:
            found[one.places, one.thresholds] = one
    cheapest: list[Choice] = []
    for one in sorted(found.values(), key=lambda c: (c.errors, c.cost)):
        if not cheapest or one.cost < cheapest[-1].cost:
            cheapest.append(one)
    return cheapest


def places_left(seen: Sequence[Seen], thresholds: Sequence[float]) -> npt.NDArray[np.int64]:
    """At which of some places each sample leaves; their number for those that stay."""
    count = len(seen[0].sure)
    left = np.full(count, len(seen), np.int64)
    for place in reversed(range(len(seen))):
        left[seen[place].sure > thresholds[place]] = place
    return left


def _best(seen: Sequence[Seen], most: int, weight: float, overhead: float) -> Choice:
    """The places one after the other, each the one that gains the most."""
    chosen = _judged(seen, {}, weight, overhead)
    taken: dict[int, float] = {}
    for _ in range(min(most, len(seen))):
        tries = [
            _settled(seen, taken | {place: NEVER}, weight, overhead)
            for place in range(len(seen))
            if place not in taken
        ]
        best = min(tries, key=lambda one: one[0], default=None)
        if best is None or best[0] >= chosen[0]:
            break
        chosen, taken = best, best[1]
    _, taken, cost, errors = chosen
    places = tuple(sorted(taken))
    return Choice(places, tuple(taken[place] for place in places), cost, errors)


_Judged = tuple[float, dict[int, float], float, float]


def _settled(
    seen: Sequence[Seen], taken: dict[int, float], weight: float, overhead: float
) -> _Judged:
    """Thresholds of those places, each the best for the others in turn."""
    best = _judged(seen, taken, weight, overhead)
    for _ in range(PASSES):
        before = best[0]
        for place in sorted(taken):
            levels = np.quantile(seen[place].sure, np.linspace(0, 1, LEVELS, endpoint=False))
            for level in (*np.unique(np.float32(levels)), NEVER):
                one = _judged(seen, best[1] | {place: float(level)}, weight, overhead)
                best = min(best, one, key=lambda judged: judged[0])
        if best[0] >= before:
            break
    return best


def _judged(
    seen: Sequence[Seen], taken: dict[int, float], weight: float, overhead: float
) -> _Judged:
    """What a choice of places and thresholds comes to."""
    places = sorted(taken)
    if not places:
        return 1.0, taken, 1.0, 0.0
    some = [seen[place] for place in places]
    left = places_left(some, [taken[place] for place in places])
    costs = np.array([one.cost + (n + 1) * overhead for n, one in enumerate(some)])
    costs = np.append(costs, 1 + len(some) * overhead)
    differs = np.stack([*(one.differs for one in some), np.zeros(len(left), bool)])
    cost = float(costs[left].mean())
    errors = float(differs[left, np.arange(len(left))].mean())
    return cost + weight * errors, taken, cost, errors
