"""How many units of which group: by least damage per cost saved, over all groups at once."""

import heapq
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from compressor.pruning.costs import Cost
from compressor.pruning.groups import Grouping
from compressor.pruning.importance import Scores


@dataclass(frozen=True)
class Limits:
    """What the allocation may not do.

    Attributes:
        least: Share of each group that stays at least; never less than one unit.
        multiple: What stays of a group is a multiple of this, or the whole group.
        finer: Smaller multiples, from large to small, for groups that are not twice as large.
        threshold: Units with this share of their group's largest score, or more, stay; None
            lets any go.
        leave: Patterns of names of nodes, values or initializers whose groups stay whole.
    """

    least: float = 1 / 8
    multiple: int = 1
    leave: tuple[str, ...] = ()
    finer: tuple[int, ...] = ()
    threshold: float | None = None

    def multiple_of(self, units: int) -> int:
        """What a group of so many units keeps a multiple of."""
        known = (self.multiple, *self.finer)
        return next((multiple for multiple in known if 2 * multiple <= units), known[-1])


@dataclass(frozen=True)
class Allocation:
    """What was chosen.

    Attributes:
        keep: Group → which units stay; groups that stay whole are left out.
        damage: Group → damage predicted.
        cost: Of the plan.
        reached: Whether the cost is down to what was asked.
    """

    keep: dict[str, npt.NDArray[np.bool_]]
    damage: dict[str, float]
    cost: float
    reached: bool


def allocate(
    grouping: Grouping, scores: Scores, cost: Cost, target: float, limits: Limits | None = None
) -> Allocation:
    """Remove units until the cost is down to `target`.

    Each step takes from the group with the least Δdamage / Δcost what brings it down to its next
    level that saves anything: a measured latency may stay the same over some, or rise. Savings
    are recomputed from what is kept, as the cost of a convolution with both sides halved is a
    quarter.

    Args:
        grouping: The groups.
        scores: Damage of each unit; groups without stay whole.
        cost: Cost of what is kept.
        target: In the units of `cost`.
        limits: What must stay.
    """
    limits = limits or Limits()
    groups = [g for g in grouping.groups if g.name in scores and not g.is_left(limits.leave)]
    plans = {g.name: _Descent(g.units, scores[g.name], limits) for g in groups}
    kept = {name: plan.units for name, plan in plans.items()}
    now = cost(kept)

    def step(name: str) -> tuple[float, str, int] | None:
        for level in plans[name].levels:
            saved = now - cost({**kept, name: level})
            if saved > 0:
                return plans[name].price(level) / saved, name, level
        return None

    heap = [found for name in plans if (found := step(name)) is not None]
    heapq.heapify(heap)
    while heap and now > target:
        _, name, _ = heapq.heappop(heap)
        fresh = step(name)
        if fresh is None:
            continue
        if heap and fresh > heap[0]:
            heapq.heappush(heap, fresh)  # a neighbour shrank since: it saves less now
            continue
        kept[name] = plans[name].take(fresh[2])
        now = cost(kept)
        again = step(name)
        if again is not None:
            heapq.heappush(heap, again)
    return Allocation(
        {name: plan.keep() for name, plan in plans.items() if plan.kept < plan.units},
        {name: plan.damage for name, plan in plans.items() if plan.kept < plan.units},
        now,
        now <= target,
    )


def can_shrink(grouping: Grouping, limits: Limits) -> bool:
    """Whether the limits let anything go of any group."""
    return any(
        _levels(group.units, limits) for group in grouping.groups if not group.is_left(limits.leave)
    )


class _Descent:
    """One group on its way down."""

    def __init__(self, units: int, scores: npt.NDArray[np.float64], limits: Limits) -> None:
        self.units = self.kept = units
        self._order = np.argsort(scores, kind="stable")
        self._sums = np.concatenate([[0.0], np.cumsum(scores[self._order])])
        self.levels = [n for n in _levels(units, limits) if n >= _strong(scores, limits)]

    @property
    def damage(self) -> float:
        """Of what has gone."""
        return float(self._sums[self.units - self.kept])

    def price(self, level: int) -> float:
        """Damage from here to a level."""
        return float(self._sums[self.units - level]) - self.damage

    def take(self, level: int) -> int:
        """Go down to a level."""
        self.levels = [n for n in self.levels if n < level]
        self.kept = level
        return level

    def keep(self) -> npt.NDArray[np.bool_]:
        """Which units stay."""
        mask = np.ones(self.units, bool)
        mask[self._order[: self.units - self.kept]] = False
        return mask


def _levels(units: int, limits: Limits) -> list[int]:
    """How many units may stay, from the most down; not all of them."""
    fewest = max(1, ceil(limits.least * units))
    multiple = limits.multiple_of(units)
    return [n for n in range(units - 1, fewest - 1, -1) if n % multiple == 0]


def _strong(scores: npt.NDArray[np.float64], limits: Limits) -> int:
    """How many units have to stay because of their scores."""
    if limits.threshold is None:
        return 0
    return int((scores >= limits.threshold * scores.max()).sum())
