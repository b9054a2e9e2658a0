"""Regions: maximal sets of integer nodes that hand each other values, and whether one pays.

A region saves time on its multiply-accumulates and spends time on quantizing what enters it and
dequantizing what leaves it. On CPUs an integer product saves roughly 1/32 to 1/64 of a cycle
over float, while converting an element costs about half a cycle to a cycle: a region needs some
tens of multiply-accumulates for each boundary element. This rejects the hopeless (a lone
depthwise or 1x1 convolution among floats); what remains is decided by measuring.

Such a set may be the whole graph. What is chosen for is smaller: a *region* is one weighted node
(or a few neighbours) with what follows it up to the next, and regions that hand each other values
are neighbours, which convert them where one is integer and the other is not.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.quantization.graph import consumers, fixed_elements
from exporters.base import QuantPolicy

MACS_PER_BOUNDARY_ELEMENT = 24
"""Below this many multiply-accumulates per converted element a region stays float."""

MOST = 32
"""Regions of a graph: with more weighted nodes than that, each region has several."""


@dataclass(frozen=True)
class Region:
    """A part of the graph that runs in one precision.

    Attributes:
        weighted: Its weighted nodes, in graph order; at least one.
        nodes: The weighted nodes and the others whose time is counted with them.
        reads: Boundary values that may be integer → the region that writes them.
    """

    weighted: tuple[str, ...]
    nodes: tuple[str, ...]
    reads: dict[str, int]

    @property
    def name(self) -> str:
        """The region's name in messages: its first weighted node, and how many more there are."""
        more = len(self.weighted) - 1
        return f"{self.weighted[0]} and {more} more" if more else self.weighted[0]


def divided(
    model: ir.Model, seeds: Collection[str], integer: Collection[str], most: int = MOST
) -> tuple[Region, ...]:
    """The regions of a graph, in graph order.

    Every node behind a region belongs to the last of those that it reads from, whether it can be
    integer or not; nodes in front of all of them belong to none.

    Args:
        model: The float graph.
        seeds: Names of the weighted nodes that could be integer.
        integer: Names of all nodes that could be integer between other integer nodes.
        most: Regions at most; with more seeds, regions have several, all but the last as many.
    """
    nodes, inside = list(model.graph), set(integer)
    weighted = [node for node in nodes if node.name in set(seeds)]
    size = max(1, math.ceil(len(weighted) / most))
    label = {node: index // size for index, node in enumerate(weighted)}
    reads: dict[int, dict[str, int]] = {index: {} for index in label.values()}
    for node in nodes:
        written = {
            value: made_by
            for value in node.inputs
            if value is not None and (made_by := value.producer()) is not None and made_by in label
        }
        if node not in label and written:
            label[node] = max(label[made_by] for made_by in written.values())
        for value, made_by in written.items():
            both = node.name in inside and made_by.name in inside
            if both and label[made_by] != label[node]:
                reads[label[node]][value.name or ""] = label[made_by]
    return tuple(
        Region(
            weighted=tuple(node.name or "" for node in weighted if label[node] == index),
            nodes=tuple(node.name or "" for node in nodes if label.get(node) == index),
            reads=reads[index],
        )
        for index in reads
    )


def regions(nodes: list[ir.Node], chosen: set[str]) -> list[list[ir.Node]]:
    """The connected components of the chosen nodes along the values they hand each other."""
    members = [node for node in nodes if node.name in chosen]
    label = {node: index for index, node in enumerate(members)}

    def find(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    parent = list(range(len(members)))
    for node in members:
        for value in node.outputs:
            for reader in consumers(value):
                if reader in label:
                    parent[find(label[reader])] = find(label[node])
    grouped: dict[int, list[ir.Node]] = {}
    for node in members:
        grouped.setdefault(find(label[node]), []).append(node)
    return list(grouped.values())


def why_not_worthwhile(region: list[ir.Node], chosen: set[str], policy: QuantPolicy) -> str | None:
    """None when the region's work is worth its boundary, else the reason why not.

    Unknown shapes get the benefit of the doubt: the whole model is measured afterwards.
    """
    work = [_macs(node) for node in region if node.op_type in policy.weighted]
    boundary = [fixed_elements(value) for value in _boundary(region, chosen)]
    if any(n is None for n in work) or any(n is None for n in boundary):
        return None
    total, crossing = sum(n or 0 for n in work), sum(n or 0 for n in boundary)
    if total >= MACS_PER_BOUNDARY_ELEMENT * crossing:
        return None
    return (
        f"its integer region does {total / max(crossing, 1):.0f} multiply-accumulates per element "
        f"converted at its boundary; below {MACS_PER_BOUNDARY_ELEMENT} that does not pay"
    )


def _boundary(region: list[ir.Node], chosen: set[str]) -> list[ir.Value]:
    """Values that enter from float nodes or leave to them, each once."""
    inside = set(region)
    crossing: dict[ir.Value, None] = {}
    for node in region:
        for value in node.inputs:
            if value is not None and constant(value) is None and value.producer() not in inside:
                crossing[value] = None
        for value in node.outputs:
            outside = [reader for reader in consumers(value) if reader.name not in chosen]
            if outside or value.is_graph_output():
                crossing[value] = None
    return list(crossing)


def _macs(node: ir.Node) -> int | None:
    """Multiply-accumulates of one sample: each output element takes one per weight row entry."""
    weight = node.inputs[1]
    tensor = constant(weight)
    elements = fixed_elements(node.outputs[0])
    if tensor is None or elements is None:
        return None
    if node.op_type == "Conv":
        return elements * math.prod(tensor.shape.numpy()[1:])
    return elements * tensor.shape.numpy()[1 if node.attributes.get_int("transB", 0) else 0]
