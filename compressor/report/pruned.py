"""What was pruned, in words and rows, for every form the report is shown in."""

from dataclasses import dataclass

from compressor.report.verdict import Tone
from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport
from compressor.results.pipeline import PipelineResult
from compressor.results.pruning import PrunedGroup, PruningResult, RepairedLayer

SHOWN = 20
"""Groups and layers in each table; the rest is folded away below it."""
_NAMED = 3
_COSTS = {
    "macs": "of the multiply-accumulates",
    "params": "of the parameters",
    "latency": "of the predicted latency",
}


@dataclass(frozen=True)
class GroupRow:
    """A group, its figures in words."""

    group: PrunedGroup
    damage: str
    before: str
    after: str


@dataclass(frozen=True)
class RepairRow:
    """A layer that was fitted, or why it was not."""

    layer: RepairedLayer
    before: str
    after: str
    outcome: str
    spent: str


@dataclass(frozen=True)
class PrunedView:
    """The section on what was removed."""

    words: str
    latency: str
    blocks: tuple[str, ...]
    groups: tuple[GroupRow, ...]
    layers: tuple[RepairRow, ...]
    is_replayed: bool


def pruned_view(graph: GraphReport) -> PrunedView | None:
    """The section of one graph; None where it ships whole."""
    found = graph.pruning
    if found is None:
        return None
    return PrunedView(
        words=removal_words(graph),
        latency=_latency_words(found),
        blocks=found.blocks,
        groups=tuple(_group_row(group) for group in found.groups),
        layers=tuple(_layer_row(layer) for layer in found.layers),
        is_replayed=found.cost is None,
    )


def goal_words(graph: GraphReport | PipelineResult) -> str:
    """`Goal of --prune 30%: met: 31.2 % of the … were removed.`; empty without one."""
    goal = graph.goal
    if goal is None:
        return ""
    return f"Goal of {goal.asked}: {'met' if goal.met else 'NOT met'}: {goal.reason}."


def goal_tone(graph: GraphReport | PipelineResult) -> Tone:
    """Reached or not; where the budget held it back, neither."""
    if graph.goal is None:
        return "unknown"
    if graph.goal.held_back:
        return "even"
    return "better" if graph.goal.met else "worse"


def removal_words(graph: GraphReport) -> str:
    """What went, in one sentence; empty where the graph ships whole."""
    found = graph.pruning
    if found is None:
        return ""
    parts = [f"{fmt.plural(len(found.blocks), 'whole block')}: {_listed(found.blocks)}"]
    gone = sum(group.units_before - group.units_after for group in found.groups)
    units = sum(group.units_before for group in found.groups)
    names = tuple(group.name for group in found.groups)
    parts += [
        f"{gone:,} of {fmt.plural(units, 'unit')} in {fmt.plural(len(names), 'group')}: "
        f"{_listed(names)}"
    ]
    told = [part for part, some in zip(parts, (found.blocks, found.groups), strict=True) if some]
    if found.layers:
        fitted = sum(layer.repaired for layer in found.layers)
        told.append(f"{fitted} of {fmt.plural(len(found.layers), 'layer')} repaired")
    removed = "; ".join(told)
    if found.cost is None or found.share is None:
        return f"Removed: {removed}."
    return f"Removed {fmt.percent(found.share, 1)} {_COSTS[found.cost]}: {removed}."


def _latency_words(found: PruningResult) -> str:
    if found.predicted_ms is None or found.measured_ms is None:
        return ""
    return (
        f"predicted from timed kernels {fmt.milliseconds(found.predicted_ms)}, "
        f"measured {fmt.milliseconds(found.measured_ms)}"
    )


def _group_row(group: PrunedGroup) -> GroupRow:
    return GroupRow(
        group, _error(group.damage), _error(group.error_before), _error(group.error_after)
    )


def _layer_row(layer: RepairedLayer) -> RepairRow:
    outcome = layer.reason or ("repaired" if layer.repaired else "left: the fit does not help")
    spent = "" if layer.seconds is None else fmt.seconds(layer.seconds)
    if layer.memory_bytes is not None:
        spent = f"{spent}, {fmt.size(layer.memory_bytes)}"
    return RepairRow(layer, _error(layer.error_before), _error(layer.error_after), outcome, spent)


def _error(value: float | None) -> str:
    return fmt.NOTHING if value is None else fmt.significant(value, 2)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMED
    shown = ", ".join(names[:_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
