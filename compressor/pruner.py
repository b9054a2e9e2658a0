"""Prunes one float graph to any cost: scored once, then cut, checked and repaired for each target.

Whole residual blocks are candidates beside channels: with none, one, two and so on removed, what
is left to the target comes from the channels, and the outputs on samples that no repair has seen
decide. That is done for the first target; later ones keep the choice.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.bench import Bench
from compressor.errors import RecipeError
from compressor.graph.tensors import Array
from compressor.plan import PrunePlan
from compressor.provenance import Provenance
from compressor.pruning import Grouping, Keep, check, cut, find_groups
from compressor.pruning.allocation import Allocation, Limits
from compressor.pruning.blocks import Shortened, find_blocks, output_error, shorten
from compressor.pruning.costs import Cost, Sizes
from compressor.pruning.importance import Scores, Scoring, scores
from compressor.pruning.patching import patch_of
from compressor.pruning.reconstruction import Repair, repair
from compressor.pruning.selection import (
    HELD_OUT,
    WEIGHINGS,
    Selecting,
    Selection,
    Weighing,
    select,
)
from compressor.records import Decision, StageRecord

SAMPLES = 256
"""Calibration samples that score and repair, at most: more hardly help and cost in proportion."""
CHECKED = 2
"""Samples on which a cut graph is compared with the masked original."""
BLOCKS = 2
"""Whole blocks that are tried to remove, at most."""
JUDGED = 128
"""Samples on which numbers of blocks are compared, at most."""


@dataclass(frozen=True)
class Base:
    """What channels are removed from: the float graph, whole or without some blocks.

    Attributes:
        short: The graph.
        grouping: Its groups.
        sizes: Their sizes.
        scores: Damage of each unit.
    """

    short: Shortened
    grouping: Grouping
    sizes: Sizes
    scores: Scores

    @property
    def blocks(self) -> int:
        """How many were removed."""
        return len(self.short.removed)


CostOf = Callable[[Sizes], Cost]
"""From the sizes of a base to what keeping its groups costs."""


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
        records: The stages.
        damage: Group → the sum of the scores of what went, not weighed.
    """

    model: ir.Model
    plan: PrunePlan
    grouping: Grouping
    allocation: Allocation
    cost: float
    reached: bool
    records: tuple[StageRecord, ...] = ()
    damage: Mapping[str, float] = field(default_factory=dict)


@dataclass
class Pruner:
    """One float graph, its groups and what each of their units is worth.

    Attributes:
        bench: The captured graph, the target, and how to measure.
        graph: The float graph; it stays as it is.
        data: Calibration samples.
        multiple: What stays of a group is a multiple of this.
    """

    bench: Bench
    graph: ir.Model
    data: CalibrationSet
    multiple: int
    whole: Base = field(init=False)
    _chosen: Base | None = None
    _first: float = 0.0
    _weighings: tuple[Weighing, ...] = WEIGHINGS
    _records: list[StageRecord] = field(default_factory=list)
    _provenance: Provenance = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.data.take(SAMPLES)
        self.whole = self._base(Shortened(self.graph))
        self._provenance = Provenance(self.bench.prepared.model, self.graph, self._feeds())

    def to(self, cost_of: CostOf, target: float, *, repaired: bool = True) -> Pruned:
        """The graph pruned until the cost is down to `target`, as far as the limits let it.

        Args:
            cost_of: What is counted.
            target: What may be left, in its units.
            repaired: Whether to repair what stays, which changes its values and not its speed.

        Raises:
            RecipeError: Nothing can be removed.
            PruningError: The cut graph does not compute what the original does without what was
                removed.
        """
        base = self._base_for(cost_of, target)
        selection = self._select(base, cost_of(base.sizes), target, self._weighings)
        self._weighings = (selection.weighing,)
        keep = selection.allocation.keep
        if not keep and not base.blocks:
            raise RecipeError(
                "nothing can be removed from this graph",
                hint="`compress inspect MODEL` shows its groups, and why the rest is frozen; "
                "--prune-round and --prune-least say what has to stay.",
            )
        smaller = self._cut(base, keep)
        plan = PrunePlan(blocks=base.short.removed, kept=_kept(keep))
        records = [*self._records, selection.record]
        made = smaller
        if repaired and self.bench.recipe.prune.repair:
            made, repairing = self._repaired(
                base, smaller, keep, self.data, self._repair(base.short.aims)
            )
            records.append(repairing)
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
            tuple(records),
            {name: float(base.scores[name][~mask].sum()) for name, mask in keep.items()},
        )

    def _base_for(self, cost_of: CostOf, target: float) -> Base:
        """What the first target chose; the whole graph where blocks save more than is asked."""
        if self._chosen is None:
            self._chosen, self._first = self._choose(cost_of, target), target
        base = self._chosen
        too_far = base.blocks and cost_of(base.sizes)({}) < target
        return self.whole if too_far and target > self._first else base

    def _choose(self, cost_of: CostOf, target: float) -> Base:
        """How many blocks go, by the outputs after repair on samples held out."""
        started = time.perf_counter()
        bases = self._bases(cost_of, target)
        held, used = self.data.take(JUDGED).split(HELD_OUT, self.bench.recipe.seed)
        errors: dict[int, float] = {}
        for base in bases if len(bases) > 1 else ():
            found = self._select(base, cost_of(base.sizes), target, (Weighing(),))
            keep = found.allocation.keep
            quick = replace(self._repair(base.short.aims), rounds=0)
            made, _ = self._repaired(base, self._cut(base, keep), keep, used, quick)
            error = output_error(self.graph, made, held, batch=self._batch)
            errors[base.blocks] = error if found.allocation.reached else np.inf
        best = min(bases, key=lambda base: errors.get(base.blocks, 0.0))
        if len(bases) > 1:
            self._records.append(_chosen(errors, best, time.perf_counter() - started))
        return self._base(best.short) if best.blocks else best

    def _bases(self, cost_of: CostOf, target: float) -> list[Base]:
        """The whole graph, and without blocks until those alone reach the target."""
        bases = [self.whole]
        if not self._may_lose_blocks():
            return bases
        how = self._repair({})
        sample = self.data.take(JUDGED)
        for short in shorten(
            self.graph, self.whole.grouping, sample, BLOCKS, how, self.bench.progress
        ):
            base = self._like_whole(short)
            if cost_of(base.sizes)({}) >= cost_of(self.whole.sizes)({}):
                break
            bases.append(base)
            if cost_of(base.sizes)({}) <= target:
                break
        return bases

    def _may_lose_blocks(self) -> bool:
        options = self.bench.recipe.prune
        wanted = options.blocks and options.repair and len(self.data) >= 2
        return wanted and bool(find_blocks(self.graph, self._feeds()))

    def _like_whole(self, short: Shortened) -> Base:
        """With the whole graph's scores, which do to compare numbers of blocks."""
        feeds, known = self._feeds(), self.whole.scores
        grouping = find_groups(short.model, feeds)
        found = {
            group.name: known[group.name]
            for group in grouping.groups
            if group.name in known and len(known[group.name]) == group.units
        }
        return Base(short, grouping, Sizes(short.model, grouping, feeds), found)

    def _base(self, short: Shortened) -> Base:
        started = time.perf_counter()
        options, feeds = self.bench.recipe.prune, self._feeds()
        with self.bench.progress.stage("find groups"):
            grouping = find_groups(short.model, feeds)
        found = scores(
            short.model, grouping, self.data, self._scoring(), progress=self.bench.progress
        )
        if not short.removed:
            self._records.append(
                _scored(grouping, options.method, len(self.data), time.perf_counter() - started)
            )
        return Base(short, grouping, Sizes(short.model, grouping, feeds), found)

    def _select(
        self, base: Base, cost: Cost, target: float, weighings: tuple[Weighing, ...]
    ) -> Selection:
        options = self.bench.recipe.prune
        limits = Limits(least=options.least, multiple=self.multiple, leave=options.leave)
        how = Selecting(
            self._scoring(),
            self._repair(base.short.aims),
            limits,
            seed=self.bench.recipe.seed,
            known=base.scores,
            weighings=weighings if options.repair else weighings[:1],
        )
        return select(
            self.graph,
            base.grouping,
            self.data,
            cost,
            target,
            how,
            self.bench.progress,
            start=base.short.model,
        )

    def _cut(self, base: Base, keep: Keep) -> ir.Model:
        """Cut, and check that by the oracle."""
        with self.bench.progress.stage("cut"):
            check(base.short.model, base.grouping, keep, self._feeds())
            return cut(base.short.model, base.grouping, keep)

    def _repaired(
        self,
        base: Base,
        smaller: ir.Model,
        keep: Keep,
        data: CalibrationSet,
        how: Repair,
    ) -> tuple[ir.Model, StageRecord]:
        return repair(
            self.graph,
            smaller,
            base.grouping,
            keep,
            data,
            how,
            self.bench.progress,
        )

    @property
    def _batch(self) -> int:
        return self.bench.prepared.fixed_batch or max(1, min(16, len(self.data) // 4))

    def _scoring(self) -> Scoring:
        options, seed = self.bench.recipe.prune, self.bench.recipe.seed
        return Scoring(options.method, batch=self._batch, least=options.least, seed=seed)

    def _repair(self, aims: Mapping[str, str]) -> Repair:
        return Repair(batch=self._batch, aims=aims)

    def _feeds(self) -> dict[str, Array]:
        batch = self.bench.prepared.fixed_batch or CHECKED
        return self.bench.prepared.feeds(batch, self.bench.recipe.seed)


def _kept(keep: Keep) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.flatnonzero(mask).tolist()) for name, mask in keep.items()}


def _scored(grouping: Grouping, method: str, samples: int, seconds: float) -> StageRecord:
    return StageRecord(
        name="score channels",
        seconds=seconds,
        parameters={"method": method, "samples": samples},
        changed={"groups": len(grouping.groups)},
        decisions=tuple(
            Decision(subject=kind, verdict="frozen", reason="there is no rule for the operator")
            for kind in grouping.unknown
        ),
    )


def _chosen(errors: dict[int, float], best: Base, seconds: float) -> StageRecord:
    return StageRecord(
        name="choose blocks",
        seconds=seconds,
        changed={"blocks removed": best.blocks},
        decisions=tuple(
            Decision(
                subject=f"{count} blocks",
                verdict="chosen" if count == best.blocks else "not chosen",
                reason=f"with channels to the target and repaired, the outputs differ by "
                f"{error:.3g} of their variance on samples held out"
                if np.isfinite(error)
                else "the target is not reached",
            )
            for count, error in errors.items()
        ),
    )
