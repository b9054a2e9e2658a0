"""Groups in figures: what hangs on each, and what holds the rest in place."""

from collections.abc import Iterable, Mapping
from math import prod

import onnx_ir as ir

from compressor.graph.macs import node_macs
from compressor.graph.parameters import parameters
from compressor.pruning.coupling.canonical import canonical
from compressor.pruning.coupling.groups import Frozen, Group, Grouping
from compressor.results.records import Record

_Shapes = Mapping[str, tuple[int, ...]]


class GroupSummary(Record):
    """A prunable group: what it couples, and what would go with all of it.

    Attributes:
        name: The node that makes its units first.
        units: Channels, heads or hidden units.
        weights: Initializers that shrink with it, the largest first, without copies of shared
            vectors.
        parameters: Share of the elements of all coupled and frozen weights, 0 to 1.
        macs: Share of the model's multiply-accumulates.
    """

    name: str
    units: int
    weights: tuple[str, ...]
    parameters: float
    macs: float


class FrozenSummary(Record):
    """The axes and parameters that stay because of one node.

    Attributes:
        node: The node, or the input or output of the graph.
        operator: Its operator; None for an input or output.
        reason: What about it.
        axes: Axes of weights that cannot shrink for this reason.
        parameters: Elements of those weights; one with two such axes counts for both.
    """

    node: str
    operator: str | None
    reason: str
    axes: int
    parameters: int


class Inspection(Record):
    """The prunable groups of a model, and why the rest stays.

    Attributes:
        source: What was inspected.
        parameters: Learned numbers of the model.
        prunable: Share of the elements of its weights that lie in at least one group.
        groups: Its groups, by falling share of the multiply-accumulates.
        frozen: What stays and why, by falling number of parameters.
        unknown: Operators without a rule, with their nodes.
    """

    source: str
    parameters: int
    prunable: float
    groups: tuple[GroupSummary, ...]
    frozen: tuple[FrozenSummary, ...]
    unknown: tuple[str, ...]


def summarize(model: ir.Model, grouping: Grouping, source: str) -> Inspection:
    """Describe the groups of a model.

    The share of a group is what would go if none of its units were left: the elements of weights,
    and the multiply-accumulates of nodes whose shapes would be empty. Shares of different groups
    overlap where a weight lies between two of them.

    Args:
        model: The model; stays as it is.
        grouping: Its groups.
        source: What it is called.
    """
    graph = canonical(model).graph
    named = {m.value for group in grouping.groups for m in group.members}
    involved = (named | {frozen.value for frozen in grouping.frozen}) & set(graph.initializers)
    sizes = {name: prod(grouping.shapes[name]) for name in involved}
    total, work = sum(sizes.values()), _macs(graph, grouping.shapes)
    groups = [
        GroupSummary(
            name=group.name,
            units=group.units,
            weights=tuple(name for name in _weights(group, sizes) if "#" not in name),
            parameters=_lost_elements(group, grouping.shapes, sizes) / max(total, 1),
            macs=_lost_macs(group, graph, grouping.shapes) / max(work, 1),
        )
        for group in grouping.groups
    ]
    return Inspection(
        source=source,
        parameters=parameters(model),
        prunable=sum(sizes[name] for name in named & involved) / max(total, 1),
        groups=tuple(sorted(groups, key=lambda group: -group.macs)),
        frozen=_merged(grouping.frozen, graph, sizes),
        unknown=grouping.unknown,
    )


def _weights(group: Group, sizes: Mapping[str, int]) -> list[str]:
    names = dict.fromkeys(member.value for member in group.members if member.value in sizes)
    return sorted(names, key=lambda name: -sizes[name])


def _without(group: Group, shapes: _Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of the group's members when none of its units is left."""
    smaller: dict[str, tuple[int, ...]] = {}
    for member in group.members:
        shape = list(smaller.get(member.value, shapes[member.value]))
        shape[member.axis] -= member.positions.size
        smaller[member.value] = tuple(shape)
    return smaller


def _lost_elements(group: Group, shapes: _Shapes, sizes: Mapping[str, int]) -> int:
    left = _without(group, shapes)
    return sum(sizes[name] - prod(left[name]) for name in _weights(group, sizes))


def _lost_macs(group: Group, graph: ir.Graph, shapes: _Shapes) -> int:
    left = _without(group, shapes)
    touched = [node for node in graph if any(value in left for value in _names(node))]
    return sum(
        (_work(node, shapes) or 0) - (_work(node, {**_of(node, shapes), **left}) or 0)
        for node in touched
    )


def _names(node: ir.Node) -> list[str]:
    return [value.name or "" for value in (*node.inputs, *node.outputs) if value is not None]


def _of(node: ir.Node, shapes: _Shapes) -> dict[str, tuple[int, ...]]:
    return {name: shapes[name] for name in _names(node) if name in shapes}


def _macs(graph: ir.Graph, shapes: _Shapes) -> int:
    return sum(_work(node, shapes) or 0 for node in graph)


def _work(node: ir.Node, shapes: _Shapes) -> int | None:
    inputs = [None if value is None else shapes.get(value.name or "") for value in node.inputs]
    outputs = [shapes.get(value.name or "") for value in node.outputs]
    return node_macs(node, inputs, outputs)


def _merged(
    frozen: Iterable[Frozen], graph: ir.Graph, sizes: Mapping[str, int]
) -> tuple[FrozenSummary, ...]:
    operators = {node.name: node.op_type for node in graph}
    found: dict[tuple[str, str], list[Frozen]] = {}
    for one in frozen:
        found.setdefault((one.node, one.reason), []).append(one)
    rows = [
        FrozenSummary(
            node=node,
            operator=operators.get(node),
            reason=reason,
            axes=len(axes),
            parameters=sum(sizes[axis.value] for axis in axes),
        )
        for (node, reason), axes in found.items()
    ]
    return tuple(sorted(rows, key=lambda row: -row.parameters))
