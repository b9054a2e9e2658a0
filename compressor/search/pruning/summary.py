"""What was removed and what became of the layers around it, for the report."""

from collections.abc import Mapping
from typing import Literal

import onnx_ir as ir

from compressor.layerwise.layers import layers_of
from compressor.plan.decisions import PrunePlan
from compressor.pruning import Grouping
from compressor.pruning.coupling.groups import Group
from compressor.results.pruning import (
    LayerRepair,
    LayerVerdict,
    PrunedGroup,
    PruningResult,
    RepairedLayer,
)
from compressor.search.pruning.pruner import Pruned

CostKind = Literal["macs", "params", "latency"]


def removed(pruned: Pruned, cost: CostKind, share: float) -> PruningResult:
    """What a run removed, predicted and measured.

    Args:
        pruned: The smaller float graph.
        cost: What the allocation went by; latency is in seconds.
        share: Of it which went.
    """
    layers = _layers(pruned.repairs)
    errors = {layer.node: layer for layer in layers}
    groups = []
    for group in _shrunk(pruned.plan, pruned.grouping):
        read = [errors[name] for name in _readers(pruned.model, group) if name in errors]
        fitted = [one for one in read if one.error_before is not None]
        groups.append(
            _group(pruned.plan, group, pruned.model).model_copy(
                update={
                    "damage": pruned.damage.get(group.name),
                    "error_before": sum(e.error_before or 0.0 for e in fitted) if fitted else None,
                    "error_after": sum(_left(e) for e in fitted) if fitted else None,
                }
            )
        )
    return PruningResult(
        cost=cost,
        share=share,
        method=pruned.method,
        blocks=pruned.plan.blocks,
        groups=tuple(groups),
        layers=layers,
        predicted_ms=1e3 * pruned.cost if cost == "latency" else None,
    )


def planned(plan: PrunePlan, grouping: Grouping, model: ir.Model) -> PruningResult:
    """What a plan that was replayed removed.

    Args:
        plan: The plan.
        grouping: The groups of the graph without the blocks that it removes.
        model: The smaller graph.
    """
    groups = (_group(plan, group, model) for group in _shrunk(plan, grouping))
    return PruningResult(blocks=plan.blocks, groups=tuple(groups))


def _shrunk(plan: PrunePlan, grouping: Grouping) -> list[Group]:
    return [group for group in grouping.groups if group.name in plan.kept]


def _group(plan: PrunePlan, group: Group, model: ir.Model) -> PrunedGroup:
    names = dict.fromkeys(member.value for member in group.members)
    return PrunedGroup(
        name=group.name,
        units_before=group.units,
        units_after=len(plan.kept[group.name]),
        weights=tuple(name for name in names if name in model.graph.initializers),
    )


def _readers(model: ir.Model, group: Group) -> list[str]:
    """The layers that contract a group."""
    axes = {(member.value, member.axis) for member in group.members}
    return [
        name
        for name, layer in layers_of(model).items()
        if (layer.weight_value.name, layer.contracted_axis) in axes and not layer.depthwise
    ]


def _layers(repairs: Mapping[str, LayerRepair]) -> tuple[RepairedLayer, ...]:
    return tuple(
        RepairedLayer(
            node=name,
            repaired=one.verdict is LayerVerdict.REPAIRED,
            error_before=one.error_before,
            error_after=one.error_after,
            seconds=one.seconds,
            memory_bytes=None if one.bytes is None else int(one.bytes),
            reason=one.reason,
        )
        for name, one in repairs.items()
    )


def _left(layer: RepairedLayer) -> float:
    """The error that stays: a fit that does not help is not kept."""
    found = layer.error_after if layer.repaired else layer.error_before
    return found or 0.0
