"""Placement for compilers that fuse by themselves: only what integer nodes read passes Q/DQ.

TensorRT moves QuantizeLinear up through activations, pools and Concat by itself, and fuses what
lies between two of them. So Q/DQ stands on the inputs of convolutions and matrix products and
hardly anywhere else:

1. Weighted operators with a constant weight, unless the policy finds their kernel slow.
2. The shortcut of a residual Add, so that convolution, Add and Relu become one kernel. Where both
   summands are such convolutions, the cheaper one is the shortcut.
3. Average pools between integer nodes, which would be islands of float.

Nothing is quantized on its way out. Source: NVIDIA TensorRT documentation, "Working with Quantized
Types", Q/DQ layer-placement recommendations.
"""

import math
from collections.abc import Callable, Iterable

import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.walks import leads_to
from compressor.quantization.graph import consumers
from exporters.base import QuantPolicy

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
AVERAGES = frozenset({"AveragePool", "GlobalAveragePool"})
TRANSPARENT = frozenset({"Relu", "Clip", "Add", "MaxPool", "Concat", "LeakyRelu", "Flatten"}) | {
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
    "Identity",
}
"""Between two integer nodes these cost no conversion of their own."""


def reading_integer(
    model: ir.Model, policy: QuantPolicy, why_not: Callable[[ir.Node], str | None]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The nodes that read integers, in graph order; and why other weighted ones do not.

    Args:
        model: The float graph.
        policy: The target's policy.
        why_not: Why a weighted node cannot be integer; None when it can.
    """
    weighted: set[str] = set()
    reasons: dict[str, str] = {}
    for node in model.graph:
        if node.op_type not in policy.weighted or node.domain != "":
            continue
        why = why_not(node) or _why_not_per_channel(node) or policy.why_not_faster(node)
        if why is None:
            weighted.add(node.name or "")
        else:
            reasons[node.name or ""] = why
    return with_neighbours(model, weighted, policy), reasons


def with_neighbours(
    model: ir.Model, weighted: Iterable[str], policy: QuantPolicy
) -> tuple[str, ...]:
    """The weighted nodes, and the residual Adds and average pools that read integers for them."""
    chosen = set(weighted)
    nodes = list(model.graph)
    chosen |= {n.name or "" for n in nodes if n.op_type == "Add" and _shortcut(n, chosen, policy)}
    chosen |= {
        n.name or "" for n in nodes if n.op_type in AVERAGES and _is_between(n, chosen, policy)
    }
    return tuple(node.name or "" for node in nodes if node.name in chosen)


def integer_inputs(node: ir.Node, integer: set[str], policy: QuantPolicy) -> list[int]:
    """Which inputs of an integer node see quantized values; weights are not among them."""
    if node.op_type == "Add":
        shortcut = _shortcut(node, integer, policy)
        return [] if shortcut is None else [list(node.inputs).index(shortcut)]
    return [0]


def values_read(model: ir.Model, integer: Iterable[str], policy: QuantPolicy) -> list[ir.Value]:
    """The values that pass through Q/DQ, in graph order."""
    names = set(integer)
    found: dict[ir.Value, None] = {}
    for node in model.graph:
        if node.name in names:
            for index in integer_inputs(node, names, policy):
                value = node.inputs[index]
                assert value is not None, "an integer node has its inputs"
                found[value] = None
    return list(found)


def _why_not_per_channel(node: ir.Node) -> str | None:
    """Output channels of a grouped transposed convolution have no axis of their own."""
    if node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) != 1:
        return "no axis of its weight runs over the output channels of all groups"
    return None


def _shortcut(node: ir.Node, integer: set[str], policy: QuantPolicy) -> ir.Value | None:
    """The summand of a residual Add that is quantized; None where no convolution fuses with it."""
    if node.op_type not in policy.elementwise or node.domain != "" or len(node.inputs) != 2:
        return None
    sides = [value for value in node.inputs if value is not None and constant(value) is None]
    if len(sides) != 2 or sides[0] is sides[1] or not _same_shape(*sides):
        return None
    fusible = [_branch(value, integer) for value in sides]
    if fusible[0] is None and fusible[1] is None:
        return None
    if fusible[0] is None or fusible[1] is None:
        return sides[0] if fusible[0] is None else sides[1]
    return sides[0] if _work(fusible[0]) < _work(fusible[1]) else sides[1]


def _branch(value: ir.Value, integer: set[str]) -> ir.Node | None:
    """The integer convolution that writes a value for the Add alone."""
    node = value.producer()
    if node is None or node.op_type not in CONVOLUTIONS or node.name not in integer:
        return None
    return node if len(value.uses()) == 1 and not value.is_graph_output() else None


def _same_shape(one: ir.Value, other: ir.Value) -> bool:
    """A summand that is broadcast is no shortcut."""
    return one.shape is None or other.shape is None or list(one.shape) == list(other.shape)


def _work(node: ir.Node) -> int:
    """Weights that each output element takes."""
    weight = node.inputs[1]
    tensor = constant(weight)
    return 0 if tensor is None else math.prod(tensor.shape.numpy()[1:])


def _is_between(node: ir.Node, integer: set[str], policy: QuantPolicy) -> bool:
    """Whether a pool lies between integer nodes, with nothing but cheap operators in between."""
    if node.op_type not in policy.elementwise or node.domain != "":
        return False
    source = node.inputs[0]
    if policy.why_not_integer(node) is not None:
        return False
    return source is not None and _comes(source, integer) and _goes(node.outputs[0], integer)


def _comes(value: ir.Value, integer: set[str]) -> bool:
    def passes(node: ir.Node) -> Iterable[ir.Value]:
        if node.op_type in CONVOLUTIONS or node.op_type not in TRANSPARENT:
            return ()
        return (one for one in node.inputs if one is not None and constant(one) is None)

    def maker(one: ir.Value) -> Iterable[ir.Node]:
        made_by = one.producer()
        return () if made_by is None else (made_by,)

    return leads_to(value, maker, lambda node: node.name in integer, passes)


def _goes(value: ir.Value, integer: set[str]) -> bool:
    def passes(node: ir.Node) -> Iterable[ir.Value]:
        return node.outputs[:1] if node.op_type in TRANSPARENT else ()

    return leads_to(value, consumers, lambda node: node.name in integer, passes)
