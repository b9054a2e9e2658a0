"""Prunes one float graph to any cost: scored once, then cut, checked, repaired for each target."""

import time
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.bench import Bench
from compressor.errors import PruningError
from compressor.plan import PrunePlan
from compressor.pruning import Grouping, Keep, check, cut, find_groups
from compressor.pruning.allocation import Allocation, Limits, allocate
from compressor.pruning.costs import Cost, Macs, Parameters, Sizes
from compressor.pruning.importance import Scores, Scoring, scores
from compressor.pruning.patching import patch_of
from compressor.pruning.reconstruction import Repair, repair
from compressor.records import Decision, StageRecord

SAMPLES = 512
"""Calibration samples that score and repair, at most: more hardly help and cost in proportion."""

CHECKED = 2
"""Samples on which a cut graph is compared with the masked original."""


@dataclass(frozen=True)
class Pruned:
    """A smaller float graph.

    Attributes:
        model: Cut and repaired.
        plan: What to do to get it again.
        allocation: What went, and what it was predicted to cost.
        records: The stages.
    """

    model: ir.Model
    plan: PrunePlan
    allocation: Allocation
    records: tuple[StageRecord, ...] = ()


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
    grouping: Grouping = field(init=False)
    sizes: Sizes = field(init=False)
    record: StageRecord = field(init=False)
    _scores: Scores = field(init=False)

    def __post_init__(self) -> None:
        started = time.perf_counter()
        options, bench = self.bench.recipe.prune, self.bench
        self.data = self.data.take(SAMPLES)
        feeds = self._feeds()
        with bench.progress.stage("find groups"):
            self.grouping = find_groups(self.graph, feeds)
        self.sizes = Sizes(self.graph, self.grouping, feeds)
        how = Scoring(method=options.method, least=options.least, seed=bench.recipe.seed)
        self._scores = scores(self.graph, self.grouping, self.data, how, bench.progress)
        self.record = StageRecord(
            name="score channels",
            seconds=time.perf_counter() - started,
            parameters={"method": options.method, "samples": len(self.data)},
            changed={"groups": len(self.grouping.groups)},
            decisions=tuple(
                Decision(subject=kind, verdict="frozen", reason="there is no rule for the operator")
                for kind in self.grouping.unknown
            ),
        )

    @property
    def limits(self) -> Limits:
        """What has to stay."""
        options = self.bench.recipe.prune
        return Limits(least=options.least, multiple=self.multiple, leave=options.leave)

    def cost(self, kind: str) -> Cost:
        """Multiply-accumulates ("macs") or parameters ("params")."""
        return Macs(self.sizes) if kind == "macs" else Parameters(self.sizes)

    def to(self, cost: Cost, target: float) -> Pruned:
        """The graph pruned until the cost is down to `target`, as far as the limits let it.

        Raises:
            PruningError: Nothing can be removed, or the cut graph does not compute what the
                original does without what was removed.
        """
        started = time.perf_counter()
        allocation = allocate(self.grouping, self._scores, cost, target, self.limits)
        if not allocation.keep:
            raise PruningError(
                "nothing can be removed from this graph",
                hint="`compress inspect MODEL` shows its groups, and why the rest is frozen; "
                "--prune-round and --prune-least say what has to stay.",
            )
        with self.bench.progress.stage("cut"):
            check(self.graph, self.grouping, allocation.keep, self._feeds())
            smaller = cut(self.graph, self.grouping, allocation.keep)
        record = StageRecord(
            name="prune",
            seconds=time.perf_counter() - started,
            changed=_removed(self.grouping, allocation.keep),
            decisions=tuple(_decisions(self.grouping, allocation)),
        )
        plan = PrunePlan(kept=_kept(allocation.keep))
        if not self.bench.recipe.prune.repair:
            return Pruned(smaller, plan, allocation, (record,))
        how = Repair(batch=min(16, max(1, len(self.data) // 4)))
        repaired, repairing = repair(
            self.graph, smaller, self.grouping, allocation.keep, self.data, how, self.bench.progress
        )
        plan = plan.model_copy(update={"weights": patch_of(smaller, repaired)})
        return Pruned(repaired, plan, allocation, (record, repairing))

    def _feeds(self) -> dict[str, np.ndarray]:
        batch = self.bench.prepared.fixed_batch or CHECKED
        return self.bench.prepared.feeds(batch, self.bench.recipe.seed)


def _kept(keep: Keep) -> dict[str, tuple[int, ...]]:
    return {name: tuple(np.flatnonzero(mask).tolist()) for name, mask in keep.items()}


def _removed(grouping: Grouping, keep: Keep) -> dict[str, int]:
    gone = sum(int((~mask).sum()) for mask in keep.values())
    return {"groups cut": len(keep), "units removed": gone, "groups": len(grouping.groups)}


def _decisions(grouping: Grouping, allocation: Allocation) -> list[Decision]:
    found = []
    for group in grouping.groups:
        mask = allocation.keep.get(group.name)
        if mask is None:
            continue
        damage = allocation.damage[group.name]
        found.append(
            Decision(
                subject=group.name,
                verdict=f"{int(mask.sum())} of {group.units} stay",
                reason=f"predicted damage {damage:.3g} of the variance of what it feeds, "
                "before repair",
            )
        )
    return found
