"""How many whole residual blocks go before channels do, by the outputs after repair.

The trace of `block_removal` has a graph without one block, without two, and so on. Which of them
channels are then removed from is tried out: none, all that the target takes, and numbers between.
Each is brought to the target, repaired, and compared with the original on samples held out, so that
the choice loses to channels alone as little as to blocks alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from compressor.pruning import find_groups
from compressor.pruning.block_removal import BlockRemoval
from compressor.pruning.blocks import Block, Shortened, without
from compressor.pruning.selection.allocation import most_of
from compressor.pruning.selection.costs import Sizes
from compressor.pruning.selection.select import Selection, Weighing
from compressor.results.records import StageRecord
from compressor.search.pruning.steps import COMPARED, Base, CostOf, Shrinking, checked_feeds, limits
from compressor.search.session import Stage

AGAIN = 2
"""Numbers of blocks that are tried with all weighings: those that lose least with the first."""
CLOSE = 1.5
"""Times the least error from which none is the best by another weighing."""
ALIKE = 0.1
"""Share of the whole cost by which targets may differ that one choice of blocks does for."""


@dataclass(frozen=True)
class Tried:
    """A number of blocks, and channels to the target.

    Attributes:
        base: The graph without the blocks.
        selection: Which of its units go.
    """

    base: Base
    selection: Selection

    @property
    def error(self) -> float:
        """At the outputs on samples held out, after a repair; 0 where nothing was compared."""
        return self.selection.errors.get(self.selection.weighing, 0.0)

    @property
    def rank(self) -> tuple[bool, float]:
        """What reaches the target goes before what does not; then what loses less, or is nearer."""
        made = self.selection.allocation
        return not made.reached, self.error if made.reached else made.cost


class Depth:
    """The choice of blocks on the way to any target."""

    def __init__(
        self, how: Shrinking, whole: Base, price_of: CostOf, weighings: tuple[Weighing, ...]
    ) -> None:
        """Nothing is removed yet.

        Args:
            how: Cuts and repairs.
            whole: The whole graph.
            price_of: What blocks save is counted in: what ships, in seconds, where that is known.
            weighings: How scores may be weighed.
        """
        self._how, self._whole, self._price_of = how, whole, price_of
        self._weighings = weighings
        self._bases: dict[int, Base] = {0: whole}

    def tried(
        self, cost_of: CostOf, target: float, known: Weighing | None = None
    ) -> tuple[Tried, StageRecord | None]:
        """The numbers of blocks compared, each with channels down to the target.

        Args:
            cost_of: What is counted.
            target: What may be left.
            known: The weighing that was best for another target: no others are tried, unless it
                does not lead so far.

        Returns:
            What loses least, and what was compared; None where there was nothing to compare.
        """
        with self._how.session.stage("choose blocks") as stage:
            most = self._most(cost_of, target)
            first, others = self._weighings[:1], self._weighings[1:]
            if known is not None:
                first, others = (known,), ()
            if not most:
                return self._with(0, cost_of, target, (*first, *others)), None
            counts = sorted({0, 3 * most // 4, most})
            found = {n: self._with(n, cost_of, target, first, alone=True) for n in counts}
            for count in self._promising(found) if others else ():
                again = self._with(count, cost_of, target, others, alone=True)
                found[count] = min(found[count], again, key=lambda one: one.rank)
            best = min(found, key=lambda count: found[count].rank)
            _tell(stage, found, best)
        return found[best], stage.record

    @staticmethod
    def _promising(found: Mapping[int, Tried]) -> list[int]:
        """The numbers that are worth other weighings: what removes no units has no other."""
        ranked = sorted(found, key=lambda count: found[count].rank)[:AGAIN]
        first = found[ranked[0]].rank
        return [
            count
            for count in ranked
            if found[count].selection.allocation.keep
            and found[count].rank <= (first[0], CLOSE * first[1])
        ]

    def like(self, decided: Mapping[float, Tried], cost_of: CostOf, target: float) -> Tried | None:
        """Chosen as for a target nearby, where that leads to this one; None where none does.

        Args:
            decided: Target → what was chosen for it.
            cost_of: What is counted.
            target: What may be left.
        """
        near = ALIKE * cost_of(self._whole.sizes)({})
        for other in sorted(decided, key=lambda one: abs(one - target)):
            if abs(other - target) > near:
                return None
            base, weighing = decided[other].base, decided[other].selection.weighing
            if base.blocks and self._left(base.blocks - 1, cost_of) <= target:
                continue  # fewer blocks do
            found = self._with(base.blocks, cost_of, target, (weighing,))
            if found.selection.allocation.reached:
                return found
        return None

    def _with(
        self,
        count: int,
        cost_of: CostOf,
        target: float,
        weighings: tuple[Weighing, ...],
        *,
        alone: bool = False,
    ) -> Tried:
        base, how = self._base(count), self._how
        full, cost = cost_of(self._whole.sizes)({}), cost_of(base.sizes)
        weighings = weighings or self._weighings[:1]
        return Tried(base, how.select(base, cost, target, weighings, whole=full, alone=alone))

    def _most(self, cost_of: CostOf, target: float) -> int:
        """The fewest blocks that reach the target alone; fewer where that is more than may go."""
        full = cost_of(self._whole.sizes)({})
        may_go = limits(self._how.session, self._how.multiple).most
        count = 0
        while self._removal.without(count + 1) is not None:
            left = self._left(count + 1, cost_of)
            too_far = may_go is not None and 1 - left / full > most_of(1 - target / full, may_go)
            if left >= self._left(count, cost_of) or too_far:
                break
            count += 1
            if left <= target:
                break
        return count

    def _left(self, count: int, cost_of: CostOf) -> float:
        """The cost of the graph without so many blocks."""
        short = self._removal.without(count)
        assert short is not None, "they were removed before"
        return cost_of(self._whole.sizes.less(short.model))({})

    @cached_property
    def _removal(self) -> BlockRemoval:
        how = self._how
        price = self._price_of(self._whole.sizes)({})

        def saved(block: Block) -> float:
            short = without(Shortened(how.graph), block, draft=True)
            return price - self._price_of(self._whole.sizes.less(short.model))({})

        known: dict[str, float] = {}

        def once(block: Block) -> float:
            if block.add not in known:
                known[block.add] = saved(block)
            return known[block.add]

        return BlockRemoval(
            how.graph,
            how.data.take(COMPARED),
            once,
            how.quick(),
            how.session.progress,
            leave=how.session.recipe.prune.leave,
        )

    def _base(self, count: int) -> Base:
        """With the whole graph's scores, which do for what is left of it."""
        if count not in self._bases:
            short, whole = self._removal.without(count), self._whole
            assert short is not None, "they were removed before"
            feeds, known = checked_feeds(self._how.session), whole.scores
            grouping = find_groups(short.model, feeds)
            found = {
                group.name: known[group.name]
                for group in grouping.groups
                if group.name in known and len(known[group.name]) == group.units
            }
            self._bases[count] = Base(short, grouping, Sizes(short.model, grouping, feeds), found)
        return self._bases[count]


def _tell(stage: Stage, found: Mapping[int, Tried], best: int) -> None:
    stage.changed = {"blocks removed": best}
    for count, one in found.items():
        told = (
            f"with channels to the target and repaired, the outputs differ by {one.error:.3g} of "
            "their variance on samples held out"
        )
        if not one.selection.allocation.reached:
            told = f"the target is not reached; {told}"
        stage.decide(f"{count} blocks", "chosen" if count == best else "not chosen", told)
