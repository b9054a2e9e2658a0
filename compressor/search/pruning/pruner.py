"""Prunes one float graph to any cost: scored once, then cut, checked and repaired for each target.

Whole residual blocks are candidates beside channels (`depth`). How many of them go is decided for a
target; others near by keep the choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.errors import PruningError
from compressor.module.provenance import Provenance
from compressor.plan.decisions import PrunePlan
from compressor.pruning import Grouping, Keep
from compressor.pruning.blocks import Shortened
from compressor.pruning.reconstruction.patching import patch_of, patched
from compressor.pruning.selection.allocation import Allocation, allocate
from compressor.pruning.selection.importance import SOLVED, Scores, scores, unscored
from compressor.pruning.selection.select import WEIGHINGS, Selection, Weighing
from compressor.pruning.sources import scores_over
from compressor.results.format import percent
from compressor.results.pruning import LayerRepair
from compressor.results.records import StageRecord
from compressor.search.pruning.depth import Depth, Tried
from compressor.search.pruning.kept_importance import scored_units
from compressor.search.pruning.kept_repair import Repaired, repaired_once
from compressor.search.pruning.steps import (
    Base,
    CostOf,
    Grouped,
    Shrinking,
    checked_feeds,
    limits,
)
from compressor.search.session import Session, Stage

_NO_REPAIRS: Mapping[str, LayerRepair] = {}
SCORED = 256
"""Calibration samples that score, at most: more hardly help and cost in proportion."""
SAMPLES = 512
"""Calibration samples that repair, at most."""


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
        records: The stages that led there.
    """

    base: Base
    selection: Selection
    records: tuple[StageRecord, ...] = ()

    @property
    def plan(self) -> PrunePlan:
        """It as a plan, without a repair."""
        kept = _kept(self.selection.allocation.keep)
        return PrunePlan(blocks=self.base.short.removed, kept=kept)

    def removes_like(self, plan: PrunePlan) -> bool:
        """Whether a plan removes the same."""
        own = self.plan
        return plan.blocks == own.blocks and plan.kept == own.kept


class Pruner:
    """One float graph, and what each of its units is worth."""

    def __init__(
        self,
        session: Session,
        start: Grouped,
        data: CalibrationSet,
        multiple: int,
        price_of: CostOf | None = None,
    ) -> None:
        """Score every unit.

        Args:
            session: The captured graph, the target, and how to measure.
            start: The float graph and its groups.
            data: Calibration samples, of which some are used.
            multiple: What stays of a group is a multiple of this.
            price_of: What whole blocks are weighed by; None for what each target counts.
        """
        self._session, self._start = session, start
        self.how = Shrinking(session, start.model, data.take(SAMPLES), multiple)
        self._price_of = price_of
        self._depth: Depth | None = None
        self._decided: dict[float, Tried] = {}
        # A threshold is of the norms themselves.
        by_norm = session.recipe.prune.threshold is not None
        self._weighings: tuple[Weighing, ...] = (Weighing(),) if by_norm else WEIGHINGS
        self._proven: list[Weighing] = []
        self._records: list[StageRecord] = []
        self._unscored: tuple[str, ...] = ()
        self._provenance = Provenance(session.prepared.model, start.model, checked_feeds(session))
        self.whole = self._scored()

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
        full = cost_of(self.whole.sizes)({})
        if self._start.has_blocks:
            found, records = self._deep(cost_of, target)
            base, selection = found.base, found.selection
        else:
            base, records = self.whole, tuple[StageRecord, ...]()
            selection = self._selected(base, cost_of, target, full)
        refused = selection.allocation.refused
        if refused is not None and not selection.allocation.keep and not base.blocks:
            raise PruningError(
                f"the least that can go is {percent(1 - refused / full)}, and "
                f"{percent(1 - target / full)} were asked for"
            )
        if not selection.allocation.keep and not base.blocks:
            raise PruningError("nothing that may be removed from this graph would save anything")
        return Chosen(base, selection, records)

    def damage(self, cost_of: CostOf, target: float) -> float | None:
        """What the scores predict of channels that go down to a target; None where none lead there.

        Args:
            cost_of: What is counted.
            target: What may be left, in its units.
        """
        whole, how = self.whole, self.how
        found = allocate(
            whole.grouping,
            whole.scores,
            cost_of(whole.sizes),
            target,
            limits(self._session, how.multiple),
        )
        return sum(found.damage.values()) if found.reached else None

    def _deep(self, cost_of: CostOf, target: float) -> tuple[Tried, tuple[StageRecord, ...]]:
        """Blocks and channels; as for an earlier target near by, where that leads to this one."""
        if self._depth is None:
            price_of = self._price_of or cost_of
            self._depth = Depth(self.how, self.whole, price_of, self._weighings)
        found, record = self._depth.like(self._decided, cost_of, target), None
        if found is None:
            known = next((one.selection.weighing for one in self._decided.values()), None)
            found, record = self._depth.tried(cost_of, target, known)
            if known is not None and not found.selection.allocation.reached:
                found, record = self._depth.tried(cost_of, target)
            self._decided[target] = found
        return found, () if record is None else (record,)

    def _selected(self, base: Base, cost_of: CostOf, target: float, full: float) -> Selection:
        """As earlier targets were weighed, unless none of those weighings leads so far."""
        how, cost = self.how, cost_of(base.sizes)
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
        base, selection, how = chosen.base, chosen.selection, self.how
        keep = selection.allocation.keep
        smaller = how.cut(base, keep)
        plan = chosen.plan
        records = [*self._records, *chosen.records, selection.record]
        made, repairs = smaller, _NO_REPAIRS
        if repaired and self._session.recipe.prune.repair:
            weights, repairing = self._repaired(base, smaller, keep)
            records.append(repairing.told)
            repairs = repairing.layers
            plan = plan.model_copy(update={"weights": dict(weights)})
            made = patched(smaller, plan.weights)  # as a replay does, so that the bytes are equal
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

    def _repaired(self, base: Base, smaller: ir.Model, keep: Keep) -> Repaired:
        """New weights of a cut graph, unless an earlier run has kept them."""
        how, aims = self.how, base.short.aims

        def repair() -> Repaired:
            made, record = how.repaired(base, smaller, keep, how.data, how.repair(aims))
            return patch_of(smaller, made), record

        return repaired_once(self._session, how.graph, smaller, how.data, aims, repair)

    def _scored(self) -> Base:
        """The whole graph with the scores of its units."""
        with self._session.stage("score channels") as stage:
            found = self._scores()
            self._tell(stage)
        self._records.append(stage.record)
        start = self._start
        return Base(Shortened(start.model), start.grouping, start.sizes, found)

    def _scores(self) -> Scores:
        model, grouping = self._start.model, self._start.grouping
        if self._session.recipe.prune.method == "taylor":
            return scores_over(self._losses, self._provenance.grouping, grouping)
        self._tell_unscored()
        data, how, session = self.how.data.take(SCORED), self.how.scoring(), self._session

        def score() -> Scores:
            return scores(model, grouping, data, how, progress=session.progress)

        return scored_units(session, model, grouping, data, score)

    def _tell(self, stage: Stage) -> None:
        """What was scored of the whole graph, and what cannot be."""
        stage.parameters = {
            "method": self._session.recipe.prune.method,
            "samples": len(self.how.data.take(SCORED)),
        }
        stage.changed = {"groups": len(self._start.grouping.groups)}
        stage.notices = [*self._start.notices, *self._unscored]
        for kind in self._start.grouping.unknown:
            stage.decide(kind, "frozen", "there is no rule for the operator")

    def _tell_unscored(self) -> None:
        """Say before it starts what the memory does not allow."""
        memory = self._session.recipe.quantize.memory
        if self.how.scoring().method not in SOLVED:
            return
        for _, layer, why in unscored(self._start.model, self._start.grouping, memory):
            told = f"what {layer!r} reads is scored by magnitude, and it is not repaired: {why}"
            self._unscored = (*self._unscored, told)
            self._session.progress.notice(told)

    @cached_property
    def _losses(self) -> Scores:
        """What the loss would change by with each unit of the captured graph."""
        from compressor.module.gradients import find_loss, first_order  # noqa: PLC0415 - torch

        session, data = self._session, self.how.data.take(SCORED)
        source, grouping = session.prepared.source, self._provenance.grouping
        loss, batch = find_loss(session.recipe.prune.loss, data), self.how.scoring().batch
        if source is not None and source.kind == "module":
            return first_order(
                source.module, grouping, data, loss, batch=batch, progress=session.progress
            )
        from compressor.training.importance import first_order_of_graph  # noqa: PLC0415 - torch

        captured = session.prepared.model
        return first_order_of_graph(
            captured, grouping, data, loss, batch=batch, progress=session.progress
        )


def _kept(keep: Keep) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.flatnonzero(mask).tolist()) for name, mask in keep.items()}
