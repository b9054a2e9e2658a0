"""SiLU between layers that are quantized, as one operator.

    x · σ(a · x) = QuickGelu(x; a)

(Ramachandran et al. 2017, arXiv 1710.05941: Swish; ONNX Runtime, ContribOperators.md.) The runtime
fuses Sigmoid and Mul by itself, but not between Q and DQ: there each of the two gets a dequantized
input of its own, or both become integer kernels that round twice.

Only a SiLU between two layers with weights is a place, since elsewhere the runtime fuses it. Gelu's
tanh form stays: what the runtime has for it differs in rounding.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.emitting import MICROSOFT, Emitter, FoundNodes
from compressor.graph.matching import (
    is_float,
    is_inner,
    number,
    operands,
    producer,
    sizes,
)
from exporters.base.form import Place
from exporters.ort.forms.rewriting import FoundForm

WEIGHTED = frozenset({"Conv", "Gemm"})
PASSES = frozenset({"Add", "Concat", "MaxPool", "Resize", "Slice", "Split"})
"""What may stand between it and the layer behind it; these have integer kernels."""
MOST = 64
"""Nodes that are looked at behind a SiLU, to find a layer."""


@dataclass(frozen=True)
class Silu(FoundNodes):
    """Sigmoid and Mul, perhaps with a factor.

    Attributes:
        alpha: The factor in front of the Sigmoid.
        way: From the layer in front of it to the one behind it, both included.
    """

    alpha: float
    way: tuple[ir.Node, ...]
    operator: ClassVar[str] = "SiLU"


class QuickGelu(FoundForm[Silu]):
    """One operator that stays whole between Q and DQ."""

    name = "quick-gelu"
    words = "one QuickGelu"

    def found(self, model: ir.Model) -> Iterator[Silu]:
        """Those between two layers."""
        for node in model.graph:
            place = _silu(node)
            if place is not None:
                yield place

    def cut(self, place: Silu) -> Place:
        """With both layers, as it is quantized between them only."""
        first, last = place.way[0], place.way[-1]
        inner = {value for node in place.way for value in node.outputs} | {place.y}
        beside = [
            value.name or ""
            for node in place.way[1:-1]
            for value in node.inputs
            if value is not None and value not in inner and is_float(value)
            if constant(value) is None
        ]
        x = first.inputs[0]
        reads = dict.fromkeys([x.name or "" if x is not None else "", *beside])
        return Place(place.name, place.operator, tuple(reads), last.outputs[0].name or "")

    def put(self, to: Emitter, place: Silu) -> None:
        """The operator."""
        shape = sizes(place.x) or []
        made = to.emit(
            "QuickGelu", [place.x], shape, "quick", domain=MICROSOFT, whole=True, alpha=place.alpha
        )
        to.replace(made)


def _silu(mul: ir.Node) -> Silu | None:
    if mul.op_type != "Mul" or mul.domain != "" or operands(mul) is None:
        return None
    for x, gate in (mul.inputs, mul.inputs[::-1]):
        sigmoid = producer(gate, "Sigmoid")
        if x is None or sigmoid is None or not is_inner(sigmoid.outputs[0]) or not is_float(x):
            continue
        scaled = _scaled(sigmoid.inputs[0], x)
        way = _way(x, mul)
        if scaled is not None and way is not None and sizes(x) is not None:
            alpha, ahead = scaled
            return Silu((*ahead, sigmoid, mul), x, mul.outputs[0], alpha, way)
    return None


def _scaled(value: ir.Value | None, x: ir.Value) -> tuple[float, tuple[ir.Node, ...]] | None:
    """The factor by which x enters the Sigmoid, and the node that multiplies."""
    if value is x:
        return 1.0, ()
    mul = producer(value, "Mul")
    both = None if mul is None else operands(mul)
    if mul is None or both is None or both[0] is not x or not is_inner(mul.outputs[0]):
        return None
    factor = number(both[1])
    return None if factor is None else (factor, (mul,))


def _way(x: ir.Value, mul: ir.Node) -> tuple[ir.Node, ...] | None:
    """From the layer that writes x to the nearest layer behind; None where one is missing."""
    first = x.producer()
    if first is None or not _is_layer(first):
        return None
    before: dict[ir.Node, ir.Node | None] = {mul: None}
    waiting = [mul]
    for _ in range(MOST):
        if not waiting:
            return None
        node = waiting.pop(0)
        for value in node.outputs:
            for reader, index in value.uses():
                if reader in before:
                    continue
                before[reader] = node
                if _is_layer(reader) and index == 0:
                    return (first, *_back(before, reader))
                if reader.op_type in PASSES and reader.domain == "":
                    waiting.append(reader)
    return None


def _back(before: dict[ir.Node, ir.Node | None], node: ir.Node) -> list[ir.Node]:
    """The nodes from behind the SiLU to one that was found."""
    way: list[ir.Node] = []
    at: ir.Node | None = node
    while at is not None:
        way.insert(0, at)
        at = before[at]
    return way[1:]


def _is_layer(node: ir.Node) -> bool:
    weighted = node.op_type in WEIGHTED and node.domain == "" and len(node.inputs) > 1
    return weighted and constant(node.inputs[1]) is not None
