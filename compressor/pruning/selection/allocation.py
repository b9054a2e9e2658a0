"""How many units of which group: by least damage per cost saved, over all groups at once."""

import heapq
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from compressor.pruning.coupling.groups import Grouping
from compressor.pruning.selection.costs import Cost
from compressor.pruning.selection.importance import Scores


@dataclass(frozen=True)
class Limits:
    """Limits of the allocation.

    Attributes:
        least: Share of each group that stays at least; never less than one unit.
        multiple: What stays of a group is a multiple of this, or the whole group.
        finer: Smaller multiples, from large to small, for groups that are not twice as large.
        threshold: Units with this share of their group's largest score, or more, stay; None
            lets any go.
        leave: Patterns of names of nodes, values or initializers whose groups stay whole.
        most: How many times the saving asked for may go before multiples are halved, down to
            `finest`; None lets any go, and halves none. Twice what was asked never goes then.
        finest: The multiple below which none is halved, such as the four of 2:4 sparsity.
        whole: The cost that savings are counted from, where that is not of all groups whole but
            of the graph with blocks that are gone.
    """

    least: float = 1 / 8
    multiple: int = 1
    leave: tuple[str, ...] = ()
    finer: tuple[int, ...] = ()
    threshold: float | None = None
    most: float | None = None
    finest: int = 1
    whole: float | None = None

    def multiple_of(self, units: int) -> int:
        """What a group of so many units keeps a multiple of."""
        known = (self.multiple, *self.finer)
        return next((multiple for multiple in known if 2 * multiple <= units), known[-1])

    def multiples_of(self, units: int) -> tuple[int, ...]:
        """That, and where a saving has an upper end its halves down to `finest`."""
        found = [self.multiple_of(units)]
        while self.most is not None and found[-1] > self.finest:
            found.append(found[-1] // 2)
        return tuple(found)


@dataclass(frozen=True)
class Allocation:
    """The allocation: units that stay, and what that costs.

    Attributes:
        keep: Group → which units stay; groups that stay whole are left out.
        damage: Group → damage predicted.
        cost: Cost of the plan.
        reached: Whether the cost is down to what was asked.
        refused: The cost at which it would have been, with twice as much gone as was asked or
            more; None where no such step was in the way.
        far: Whether more has gone than may, as no smaller steps lead to the target.
    """

    keep: dict[str, npt.NDArray[np.bool_]]
    damage: dict[str, float]
    cost: float
    reached: bool
    refused: float | None = None
    far: bool = False


TWICE = 2.0
"""Times the saving asked for that is never taken where it has an upper end."""
SLACK = 0.02
"""Share of the whole by which more may always go than asked: to small shares units are large."""


def most_of(share: float, most: float) -> float:
    """The largest share that may go where so much was asked for."""
    return max(most * share, share + SLACK)


def allocate(
    grouping: Grouping, scores: Scores, cost: Cost, target: float, limits: Limits | None = None
) -> Allocation:
    """Remove units until the cost is down to `target`.

    Each step takes from the group with the least Δdamage / Δcost what brings it down to its next
    level that saves anything: a measured latency may stay the same over some, or rise. Savings
    are recomputed from what is kept, as the cost of a convolution with both sides halved is a
    quarter.

    Where the limits say how much may go at most, a step beyond that is made smaller: the group's
    multiple is halved until one of its levels lies between what was asked and what may go. A group
    without such a level waits until all others are down; then the step that goes least too far is
    taken, unless twice what was asked would be gone, and what it makes needless is given back.
    Where that still takes more than may go, all is done again from smaller multiples on: large
    steps may have used up the small ones that were needed at the end.

    Args:
        grouping: The groups.
        scores: Damage of each unit; groups without stay whole.
        cost: Cost of what is kept.
        target: The cost to come down to, in the units of `cost`.
        limits: What must stay.
    """
    limits = limits or Limits()
    groups = [g for g in grouping.groups if g.name in scores and not g.is_left(limits.leave)]
    plans = {g.name: _Descent(g.units, scores[g.name], limits) for g in groups}
    rounds = max((len(plan.multiples) for plan in plans.values()), default=1)
    best = _Down(plans, cost, target, limits).all_from(0, rounds)
    for first in range(1, rounds):
        if best.reached and not best.far:
            break
        best = min(best, _Down(plans, cost, target, limits).all_from(first, rounds), key=_badness)
    return best


def _badness(found: Allocation) -> tuple[bool, float]:
    """What reaches the target goes before what does not; then what is nearer to it."""
    return not found.reached, -found.cost if found.reached else found.cost


class _Down:
    """The descent of all groups to a cost."""

    def __init__(
        self, plans: dict[str, "_Descent"], cost: Cost, target: float, limits: Limits
    ) -> None:
        self._plans = {name: copy(plan) for name, plan in plans.items()}
        self._cost, self._target = cost, target
        self._kept = {name: plan.units for name, plan in plans.items()}
        self.now = cost(self._kept)
        self._full = self.now if limits.whole is None else limits.whole
        self._floor = self._left_of(limits.most)
        self._never = self._left_of(None if limits.most is None else TWICE)
        self.refused: float | None = None

    def all_from(self, first: int, rounds: int) -> Allocation:
        """Everything, with multiples halved so many times to begin with.

        Args:
            first: How many times.
            rounds: How often they can be halved, and once more.
        """
        for finer in range(first, rounds):
            self.descend(finer)
        self.last_step(rounds - 1)
        self.give_back(rounds - 1)
        shrunk = {name: plan for name, plan in self._plans.items() if plan.kept < plan.units}
        return Allocation(
            {name: plan.keep() for name, plan in shrunk.items()},
            {name: plan.damage for name, plan in shrunk.items()},
            self.now,
            self.now <= self._target,
            self.refused,
            self.now < self._floor,
        )

    def descend(self, finer: int) -> None:
        """Take steps until the target is reached, or none is left that saves and is not too long.

        Args:
            finer: How many times multiples have been halved.
        """
        heap = [found for name in self._plans if (found := self._step(name, finer)) is not None]
        heapq.heapify(heap)
        while heap and self.now > self._target:
            _, name, _ = heapq.heappop(heap)
            fresh = self._step(name, finer)
            if fresh is None:
                continue
            if heap and fresh > heap[0]:
                heapq.heappush(heap, fresh)  # a neighbour shrank since: it saves less now
                continue
            level = fresh[2]
            if self._after(name, level) < self._floor:
                gentler = self._gentler(name, finer)
                if gentler is None:
                    continue
                level = gentler
            self._take(name, level)
            again = self._step(name, finer)
            if again is not None:
                heapq.heappush(heap, again)

    def last_step(self, finer: int) -> None:
        """The step that goes least too far, where all were too long and this is not twice so."""
        if self.now <= self._target or self._floor == -np.inf:
            return
        steps = [found for name in self._plans if (found := self._step(name, finer)) is not None]
        costs = {(name, level): self._after(name, level) for _, name, level in steps}
        reaching = [step for step in costs if costs[step] <= self._target]
        if not reaching:
            return
        best = max(reaching, key=lambda step: costs[step])
        if costs[best] <= self._never:
            self.refused = costs[best]
        else:
            self._take(*best)

    def give_back(self, finer: int) -> None:
        """Take back units where more has gone than may, of groups that the target does not need."""
        while self.now < self._floor:
            costs = {
                (name, level): self._after(name, level)
                for name, plan in self._plans.items()
                for level in plan.above(finer)
            }
            needless = [step for step in costs if self.now < costs[step] <= self._target]
            if not needless:
                return
            self._take(*max(needless, key=lambda step: costs[step]))

    def _left_of(self, most: float | None) -> float:
        """The cost at which so many times the saving asked for has gone."""
        if most is None:
            return -np.inf
        return self._full * (1 - most_of(1 - self._target / self._full, most))

    def _after(self, name: str, level: int) -> float:
        return self._cost({**self._kept, name: level})

    def _step(self, name: str, finer: int) -> tuple[float, str, int] | None:
        """The next level of a group that saves anything, by what it loses for that."""
        plan = self._plans[name]
        for level in plan.levels(finer):
            saved = self.now - self._after(name, level)
            if saved > 0:
                return plan.price(level) / saved, name, level
        return None

    def _gentler(self, name: str, finer: int) -> int | None:
        """A level between what was asked and what may go, of the largest multiple that has one."""
        plan = self._plans[name]
        for halved in range(finer + 1, len(plan.multiples)):
            for level in plan.levels(halved):
                left = self._after(name, level)
                if left < self._floor:
                    break
                if left <= self._target:
                    return level
        return None

    def _take(self, name: str, level: int) -> None:
        self._plans[name].kept = self._kept[name] = level
        self.now = self._cost(self._kept)


def can_shrink(grouping: Grouping, limits: Limits) -> bool:
    """Whether the limits let anything go of any group."""
    return any(
        any(_levels(group.units, limits, multiple))
        for group in grouping.groups
        if not group.is_left(limits.leave)
        for multiple in limits.multiples_of(group.units)[-1:]
    )


class _Descent:
    """The descent of one group."""

    def __init__(self, units: int, scores: npt.NDArray[np.float64], limits: Limits) -> None:
        self.units = self.kept = units
        self.multiples = limits.multiples_of(units)
        self._limits, self._strong = limits, _strong(scores, limits)
        self._order = np.argsort(scores, kind="stable")
        self._sums = np.concatenate([[0.0], np.cumsum(scores[self._order])])

    @property
    def damage(self) -> float:
        """Damage of the units that are gone, added up."""
        return float(self._sums[self.units - self.kept])

    def price(self, level: int) -> float:
        """Damage from here to a level."""
        return float(self._sums[self.units - level]) - self.damage

    def levels(self, finer: int) -> Iterator[int]:
        """How many units may stay from here down, with the multiple halved so many times."""
        multiple = self.multiples[min(finer, len(self.multiples) - 1)]
        for level in _levels(self.units, self._limits, multiple):
            if self._strong <= level < self.kept:
                yield level

    def above(self, finer: int) -> list[int]:
        """How many units may stay again, up to all, with the multiple halved so many times."""
        if self.kept == self.units:
            return []
        multiple = self.multiples[min(finer, len(self.multiples) - 1)]
        between = _levels(self.units, self._limits, multiple)
        return [self.units, *(level for level in between if level > self.kept)]

    def keep(self) -> npt.NDArray[np.bool_]:
        """Which units stay."""
        mask = np.ones(self.units, bool)
        mask[self._order[: self.units - self.kept]] = False
        return mask


def _levels(units: int, limits: Limits, multiple: int) -> range:
    """How many units may stay, from the most down; not all of them."""
    fewest = max(1, ceil(limits.least * units))
    return range((units - 1) // multiple * multiple, fewest - 1, -multiple)


def _strong(scores: npt.NDArray[np.float64], limits: Limits) -> int:
    """How many units have to stay because of their scores."""
    if limits.threshold is None:
        return 0
    return int((scores >= limits.threshold * scores.max()).sum())
