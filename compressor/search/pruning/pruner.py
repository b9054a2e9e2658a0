"""Prunes one float graph to any cost: scored once, then cut, checked and repaired for each target.

Whole residual blocks are candidates beside channels (`shortening`). How many of them go is decided
for the first target; later ones keep the choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.errors import PruningError
from compressor.module.provenance import Provenance
from compressor.plan.plan import PrunePlan
from compressor.pruning import Grouping, Keep, find_groups
from compressor.pruning.blocks import Shortened
from compressor.pruning.reconstruction.patching import patch_of
from compressor.pruning.selection.allocation import Allocation
from compressor.pruning.selection.costs import Sizes
from compressor.pruning.selection.importance import SOLVED, Scores, scores, unscored
from compressor.pruning.selection.select import WEIGHINGS, Selection, Weighing
from compressor.pruning.sources import scores_over
from compressor.results.format import percent
from compressor.results.pruning import LayerRepair
from compressor.results.records import StageRecord
from compressor.search.pruning.depth import shortest
from compressor.search.pruning.steps import Base, CostOf, Grouped, Shrinking, checked_feeds
from compressor.search.session import Session, Stage

_NO_REPAIRS: Mapping[str, LayerRepair] = {}
SAMPLES = 256
"""Calibration samples that score and repair, at most: more hardly help and cost in proportion."""


@dataclass(frozen=True)
class Pruned:
    """A smaller float graph.

    Attributes:
        model: Cut and repaired.
        plan: What to do to get it again.
        grouping: The groups of the graph without the blocks that went.
        allocation: What went of them, and the damage predicted, as it was weighed.
        cost: What is left.
        reached: Whether that is down to the target.
        method: What told which units matter.
        records: The stages.
        damage: Group → the sum of the scores of what went, not weighed.
        repairs: Layer → what its repair came to.
    """

    model: ir.Model
    plan: PrunePlan
    grouping: Grouping
    allocation: Allocation
    cost: float
    reached: bool
    method: str
    records: tuple[StageRecord, ...] = ()
    damage: Mapping[str, float] = field(default_factory=dict)
    repairs: Mapping[str, LayerRepair] = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """What is to go.

    Attributes:
        base: The graph, whole or without some blocks.
        selection: Which of its units.
    """

    base: Base
    selection: Selection

    def removes_like(self, plan: PrunePlan) -> bool:
        """Whether a plan removes the same."""
        same = plan.blocks == self.base.short.removed
        return same and plan.kept == _kept(self.selection.allocation.keep)


class Pruner:
    """One float graph, and what each of its units is worth."""

    def __init__(
        self, session: Session, start: Grouped, data: CalibrationSet, multiple: int
    ) -> None:
        """Score every unit.

        Args:
            session: The captured graph, the target, and how to measure.
            start: The float graph and its groups.
            data: Calibration samples, of which some are used.
            multiple: What stays of a group is a multiple of this.
        """
        self._session, self._start = session, start
        self._how = Shrinking(session, start.model, data.take(SAMPLES), multiple)
        self._chosen: Base | None = None
        self._first = 0.0
        # A threshold is of the norms themselves.
        by_norm = session.recipe.prune.threshold is not None
        self._weighings: tuple[Weighing, ...] = (Weighing(),) if by_norm else WEIGHINGS
        self._proven: list[Weighing] = []
        self._records: list[StageRecord] = []
        self._unscored: tuple[str, ...] = ()
        self._provenance = Provenance(session.prepared.model, start.model, checked_feeds(session))
        self.whole = self._base(Shortened(start.model))

    def to(self, cost_of: CostOf, target: float, *, repaired: bool = True) -> Pruned:
        """`made` of what was `chosen`."""
        return self.made(self.chosen(cost_of, target), repaired=repaired)

    def chosen(self, cost_of: CostOf, target: float) -> Chosen:
        """What goes so that the cost comes down to `target`, as far as the limits let it.

        Args:
            cost_of: What is counted.
            target: What may be left, in its units.

        Raises:
            PruningError: Nothing that may go saves any cost.
        """
        base = self._base_for(cost_of, target)
        full = cost_of(self.whole.sizes)({})
        selection = self._selected(base, cost_of, target, full)
        refused = selection.allocation.refused
        if refused is not None and not selection.allocation.keep and not base.blocks:
            raise PruningError(
                f"the least that can go is {percent(1 - refused / full)}, and "
                f"{percent(1 - target / full)} were asked for"
            )
        if not selection.allocation.keep and not base.blocks:
            raise PruningError("nothing that may be removed from this graph would save anything")
        return Chosen(base, selection)

    def _selected(self, base: Base, cost_of: CostOf, target: float, full: float) -> Selection:
        """As earlier targets were weighed, unless none of those weighings leads so far."""
        how, cost = self._how, cost_of(base.sizes)
        for weighing in self._proven:
            found = how.select(base, cost, target, (weighing,), whole=full)
            if found.allocation.reached:
                return found
        found = how.select(base, cost, target, self._weighings, whole=full)
        if found.allocation.reached:
            self._proven.append(found.weighing)
        return found

    def made(self, chosen: Chosen, *, repaired: bool = True) -> Pruned:
        """The graph without what was chosen.

        Args:
            chosen: From `chosen`.
            repaired: Whether to repair what stays, which changes its values and not its speed.

        Raises:
            PruningError: The cut graph does not compute what the original does without what was
                removed.
        """
        base, selection, how = chosen.base, chosen.selection, self._how
        keep = selection.allocation.keep
        smaller = how.cut(base, keep)
        plan = PrunePlan(blocks=base.short.removed, kept=_kept(keep))
        records = [*self._records, selection.record]
        made, repairs = smaller, _NO_REPAIRS
        if repaired and self._session.recipe.prune.repair:
            fit = how.repair(base.short.aims)
            made, repairing = how.repaired(base, smaller, keep, how.data, fit)
            records.append(repairing.told)
            repairs = repairing.layers
            plan = plan.model_copy(update={"weights": patch_of(smaller, made)})
        plan, tracing = self._provenance.traced(plan, base.grouping, keep, smaller)
        records.append(tracing)
        allocation = selection.allocation
        return Pruned(
            made,
            plan,
            base.grouping,
            allocation,
            allocation.cost,
            allocation.reached,
            self._session.recipe.prune.method,
            tuple(records),
            {name: float(base.scores[name][~mask].sum()) for name, mask in keep.items()},
            repairs,
        )

    def _base_for(self, cost_of: CostOf, target: float) -> Base:
        """What the first target chose; the whole graph where blocks save more than is asked."""
        if self._chosen is None:
            self._chosen, self._first = self._choose(cost_of, target), target
        base = self._chosen
        too_far = base.blocks and cost_of(base.sizes)({}) < target
        return self.whole if too_far and target > self._first else base

    def _choose(self, cost_of: CostOf, target: float) -> Base:
        """How many blocks go; what is left is then scored anew."""
        if not self._start.has_blocks:
            return self.whole
        best, record = shortest(self._how, self.whole, cost_of, target)
        if record is not None:
            self._records.append(record)
        return self._base(best.short) if best.blocks else best

    def _base(self, short: Shortened) -> Base:
        session = self._session
        grouping, sizes = self._start.grouping, self._start.sizes
        with session.stage("score channels") as stage:
            if short.removed:
                feeds = checked_feeds(session)
                with session.progress.stage("find groups"):
                    grouping = find_groups(short.model, feeds)
                sizes = Sizes(short.model, grouping, feeds)
            found = self._scores(short, grouping)
            self._tell(stage)
        if not short.removed:
            self._records.append(stage.record)
        return Base(short, grouping, sizes, found)

    def _scores(self, short: Shortened, grouping: Grouping) -> Scores:
        if self._session.recipe.prune.method == "taylor":
            return scores_over(self._losses, self._provenance.grouping, grouping)
        if not short.removed:
            self._tell_unscored()
        how = self._how
        progress = self._session.progress
        return scores(short.model, grouping, how.data, how.scoring(), progress=progress)

    def _tell(self, stage: Stage) -> None:
        """What was scored of the whole graph, and what cannot be."""
        stage.parameters = {
            "method": self._session.recipe.prune.method,
            "samples": len(self._how.data),
        }
        stage.changed = {"groups": len(self._start.grouping.groups)}
        stage.notices = [*self._start.notices, *self._unscored]
        for kind in self._start.grouping.unknown:
            stage.decide(kind, "frozen", "there is no rule for the operator")

    def _tell_unscored(self) -> None:
        """Say before it starts what the memory does not allow."""
        memory = self._session.recipe.quantize.memory
        if self._how.scoring().method not in SOLVED:
            return
        for _, layer, why in unscored(self._start.model, self._start.grouping, memory):
            told = f"what {layer!r} reads is scored by magnitude, and it is not repaired: {why}"
            self._unscored = (*self._unscored, told)
            self._session.progress.notice(told)

    @cached_property
    def _losses(self) -> Scores:
        """What the loss would change by with each unit of the captured graph."""
        from compressor.module.gradients import find_loss, first_order  # noqa: PLC0415 - torch

        session, data = self._session, self._how.data
        source = session.prepared.source
        assert source is not None, "whatever is differentiated was prepared for it"
        return first_order(
            source.module,
            self._provenance.grouping,
            data,
            find_loss(session.recipe.prune.loss, data),
            batch=self._how.scoring().batch,
            progress=session.progress,
        )


def _kept(keep: Keep) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.flatnonzero(mask).tolist()) for name, mask in keep.items()}
