"""Which units go: several ways to weigh the same scores, judged by the output after repair.

Scores are errors where a group is read. How much of that is left at the output depends on what
later layers can make up for, which no score of one layer tells. So the allocation is done with
the scores weighed in several ways, and each result is repaired and compared with the original on
samples that the repair has not seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.layerwise.layers import layers_of
from compressor.layerwise.streams import stream_of
from compressor.pruning.coupling.groups import Group, Grouping
from compressor.pruning.coupling.surgery import cut
from compressor.pruning.output_error import output_error
from compressor.pruning.reconstruction.repair import Repair, repair
from compressor.pruning.selection.allocation import Allocation, Limits, allocate
from compressor.pruning.selection.costs import Cost
from compressor.pruning.selection.importance import Scores, Scoring, scores
from compressor.pruning.selection.readings import readings
from compressor.results.records import Decision, StageRecord
from compressor.system.progress import SILENT, Progress
from compressor.system.stopwatch import Stopwatch

REPAIRED = 1000
"""Layers that all weighings together are repaired in, at most, to compare them."""
HELD_OUT = 0.25
"""Share of the samples that judge."""
ROWS = 16
"""Rows per column of the repairs that are only compared."""


@dataclass(frozen=True)
class Weighing:
    """damage = score^power · depth^late · (streams, for a residual stream's channels).

    Attributes:
        power: Below 1, large errors count less.
        late: How much more errors near the output count, where less is left that repairs them;
            depth is the share of the layers up to the last that reads the group.
        streams: Factor for groups that a residual stream consists of; infinite leaves them whole.
    """

    power: float = 1.0
    late: float = 0.0
    streams: float = 1.0

    def __str__(self) -> str:
        told = "score" if self.power == 1 else f"score^{self.power:g}"
        if self.late:
            told = f"{told} · depth" if self.late == 1 else f"{told} · depth^{self.late:g}"
        if np.isinf(self.streams):
            return f"{told}, residual streams whole"
        return told if self.streams == 1 else f"{told}, residual streams x{self.streams:g}"


WEIGHINGS = (
    Weighing(1.0, 0.0, np.inf),
    Weighing(0.7, 1.0, np.inf),
    Weighing(0.5, 0.0, np.inf),
    Weighing(0.5, 0.5, np.inf),
    Weighing(1.0, 1.0, 4.0),
)
"""Those tried; where there are no streams, those that differ in nothing else are tried once."""


@dataclass(frozen=True)
class Selecting:
    """Options of the selection of units.

    Attributes:
        scoring: How they are scored.
        repair: How candidates and the result are repaired.
        limits: What must stay.
        weighings: What is tried; a single one is taken as it is.
        compared: Whether those that reach the target are compared by the outputs after repair;
            otherwise the first of them is taken.
        alone: Whether the error of a single one is asked for, too.
        seed: Divides the samples into those that repair and those that judge.
        known: The scores, where they were found before.
    """

    scoring: Scoring = field(default_factory=Scoring)
    repair: Repair = field(default_factory=Repair)
    limits: Limits = field(default_factory=Limits)
    weighings: tuple[Weighing, ...] = WEIGHINGS
    compared: bool = True
    alone: bool = False
    seed: int = 0
    known: Scores | None = None


@dataclass(frozen=True)
class Selection:
    """The units that stay, and how they were chosen.

    Attributes:
        allocation: What stays, and the damage predicted.
        weighing: How the scores were weighed.
        errors: Weighing → error at the outputs after repair on samples held out; empty when there
            was nothing to choose.
        record: The stage.
        quick: What was compared of it: cut, and repaired from a few samples; None where nothing
            was.
    """

    allocation: Allocation
    weighing: Weighing
    errors: Mapping[Weighing, float]
    record: StageRecord
    quick: ir.Model | None = None


def select(
    model: ir.Model,
    grouping: Grouping,
    data: CalibrationSet,
    cost: Cost,
    target: float,
    how: Selecting | None = None,
    progress: Progress = SILENT,
    start: ir.Model | None = None,
) -> Selection:
    """Choose what stays so that the cost comes down to a target.

    Args:
        model: The original, which the repair aims at.
        grouping: The groups of what is pruned.
        data: Bound to the model's inputs; labels are not used.
        cost: Cost of what is kept.
        target: The cost to come down to, in the units of `cost`.
        how: Scores, limits, candidates.
        progress: Called with the candidates done.
        start: What is pruned, where that is not the original but has lost blocks.
    """
    how = how or Selecting()
    watch = Stopwatch()
    pruned = model if start is None else start
    found = (
        scores(pruned, grouping, data, how.scoring, progress) if how.known is None else how.known
    )
    tried = _candidates(pruned, grouping, found, cost, target, how)
    errors: dict[Weighing, float] = {}
    quick: ir.Model | None = None
    most = max(1, REPAIRED // max(len(layers_of(pruned)), 1)) if how.compared else 1
    left_out = max(0, len(tried) - most) if how.compared else 0
    tried = dict(islice(tried.items(), most))
    if len(tried) > 1 or how.alone:
        held, used = data.split(HELD_OUT, how.seed)
        with progress.stage("select", total=len(tried)) as advance:
            for weighing, allocation in tried.items():
                made, error = _repaired(
                    model, pruned, grouping, allocation, (used, held), how.repair
                )
                quick = made if error <= min(errors.values(), default=np.inf) else quick
                errors[weighing] = error
                advance(1)
    best = min(tried, key=lambda one: errors.get(one, 0.0))
    return Selection(
        tried[best],
        best,
        errors,
        _record(
            grouping,
            tried[best],
            best,
            errors,
            how,
            watch.seconds,
            left_out=left_out,
        ),
        quick,
    )


def weighed(model: ir.Model, grouping: Grouping, found: Scores, how: Weighing) -> Scores:
    """Scores weighed; groups whose weight is infinite are left out.

    Args:
        model: The model that the groups are of.
        grouping: Its groups.
        found: Their scores.
        how: The weighing.
    """
    depths, streams = _depths(model, grouping), _streams(model)
    made = {}
    for group in grouping.groups:
        factor = how.streams if _is_stream(group, streams) else 1.0
        if group.name in found and np.isfinite(factor):
            damage = found[group.name] ** how.power * depths[group.name] ** how.late
            made[group.name] = damage * factor
    return made


def _candidates(
    model: ir.Model,
    grouping: Grouping,
    found: Scores,
    cost: Cost,
    target: float,
    how: Selecting,
) -> dict[Weighing, Allocation]:
    """Allocations that differ; those that reach the target, when any does."""
    tried: dict[Weighing, Allocation] = {}
    seen: set[bytes] = set()
    for weighing in how.weighings:
        made = allocate(
            grouping, weighed(model, grouping, found, weighing), cost, target, how.limits
        )
        key = b"".join(name.encode() + mask.tobytes() for name, mask in sorted(made.keep.items()))
        if key not in seen:
            seen.add(key)
            tried[weighing] = made
    reached = {weighing: made for weighing, made in tried.items() if made.reached}
    if reached:
        return reached
    lowest = min(tried, key=lambda one: tried[one].cost)
    return {lowest: tried[lowest]}


def _repaired(
    model: ir.Model,
    pruned: ir.Model,
    grouping: Grouping,
    allocation: Allocation,
    data: tuple[CalibrationSet, CalibrationSet],
    how: Repair,
) -> tuple[ir.Model, float]:
    """A candidate with a quick repair, and its error at the outputs."""
    used, held = data
    made = cut(pruned, grouping, allocation.keep)
    quick = replace(how, rounds=0, rows=ROWS)
    repaired, _ = repair(model, made, grouping, allocation.keep, used, quick)
    return repaired, output_error(model, repaired, held, batch=how.batch, threads=how.threads)


def _depths(model: ir.Model, grouping: Grouping) -> dict[str, float]:
    order = {name: i + 1 for i, name in enumerate(layers_of(model))}
    return {
        name: max((order[one.layer.name] for one in some), default=len(order)) / max(len(order), 1)
        for name, some in readings(model, grouping).items()
    }


def _streams(model: ir.Model) -> set[str]:
    """Sums that a layer's output is added into."""
    found = (stream_of(layer) for layer in layers_of(model).values())
    return {stream.value.name or "" for stream in found if stream is not None}


def _is_stream(group: Group, streams: set[str]) -> bool:
    return any(member.value in streams for member in group.members)


def _record(
    grouping: Grouping,
    chosen: Allocation,
    weighing: Weighing,
    errors: Mapping[Weighing, float],
    how: Selecting,
    seconds: float,
    *,
    left_out: int,
) -> StageRecord:
    units = {group.name: group.units for group in grouping.groups}
    gone = {name: int((~mask).sum()) for name, mask in chosen.keep.items()}
    given_way = [
        name
        for name, mask in chosen.keep.items()
        if mask.sum() % how.limits.multiple_of(units[name])
    ]
    notices = []
    if given_way:
        notices.append(
            f"channel counts of {len(given_way)} group{'s' if len(given_way) > 1 else ''} are no "
            f"multiple of {how.limits.multiple}: in such steps much more than asked would go"
        )
    if left_out:
        notices.append(
            f"{left_out} of {left_out + max(len(errors), 1)} ways to weigh what each layer loses "
            "were not compared: each takes a repair of the whole graph, which has many layers"
        )
    return StageRecord(
        name="select",
        seconds=seconds,
        notices=tuple(notices),
        parameters={
            "method": how.scoring.method,
            "cost": chosen.cost,
            "reached": chosen.reached,
            "weighing": str(weighing),
            "errors": {str(one): error for one, error in errors.items()},
        },
        changed={"units removed": sum(gone.values())},
        decisions=tuple(
            Decision(
                subject=name,
                verdict=f"{units[name] - count} of {units[name]} stay",
                reason=f"predicted damage {chosen.damage[name]:.3g}",
            )
            for name, count in gone.items()
        ),
    )
