"""Which nodes run as integer, and which values therefore pass through Q/DQ.

The policy says which operators have integer kernels; this module grows *regions* of them that
stay integer from end to end, because an integer island between floats pays its boundaries and
gets slower than float:

1. Weighted operators with a constant weight are the seeds.
2. Pass-through, absorbed and element-wise operators join when everything they read comes from
   integer nodes, until nothing changes.
3. Those that feed no integer node leave again: they would only move the boundary. What arranges
   the output of a kernel that writes integers stays, as it arranges a quarter of the bytes.
4. A region whose work does not pay for its boundary leaves.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import constant, scalar
from compressor.quantization.graph import absorbed_bounds, consumers
from compressor.quantization.inputs import (
    integer_inputs,
    reading_integer,
    values_read,
    with_neighbours,
)
from compressor.quantization.regions import regions, why_not_worthwhile
from exporters.base import QuantPolicy

ARRANGING = frozenset({"Transpose", "Reshape", "Slice", "DepthToSpace"})
"""Pass-through operators that write no more than they read."""


@dataclass(frozen=True)
class Placement:
    """The nodes that run as integer.

    Attributes:
        integer: Names of the integer nodes, in graph order.
        float_reasons: Name → why, for every node that has an integer kernel or a weight and
            stays float all the same.
    """

    integer: tuple[str, ...]
    float_reasons: dict[str, str]

    def without(self, reasons: Mapping[str, str]) -> "Placement":
        """The placement without nodes that stay float for reasons of their own."""
        kept = tuple(name for name in self.integer if name not in reasons)
        own = {name: reasons[name] for name in self.integer if name in reasons}
        return Placement(kept, {**self.float_reasons, **own})


def left_alone(model: ir.Model, leave: Sequence[str]) -> dict[str, str]:
    """Node → that it was asked to stay float, of those whose name or weight a pattern matches."""
    names = {_name(node): (_name(node), *_weight_names(node)) for node in model.graph.all_nodes()}
    return {
        node: "it was left in float as asked"
        for node, known in names.items()
        if any(fnmatchcase(name, pattern) for pattern in leave for name in known)
    }


def _weight_names(node: ir.Node) -> list[str]:
    return [one.name or "" for one in node.inputs if one is not None and one.is_initializer()]


def place(
    model: ir.Model, policy: QuantPolicy, left: Mapping[str, str] = MappingProxyType({})
) -> Placement:
    """Choose the integer nodes of the main graph; control flow bodies stay float.

    Args:
        model: The float graph.
        policy: The target's policy.
        left: Nodes that stay float all the same → why.
    """

    def why_not(node: ir.Node) -> str | None:
        return left.get(_name(node)) or why_not_quantizable(node)

    if policy.inputs_only:
        return Placement(*reading_integer(model, policy, why_not))
    nodes = list(model.graph)
    reasons: dict[str, str] = {}
    chosen: set[str] = set()
    for node in nodes:
        if node.op_type in policy.weighted and node.domain == "":
            refusal = why_not(node) or policy.why_not_faster(node)
            if refusal is None:
                chosen.add(_name(node))
            else:
                reasons[_name(node)] = refusal
    _grow(nodes, chosen, policy)
    _shrink(nodes, chosen, policy)
    for region in regions(nodes, chosen):
        refusal = why_not_worthwhile(region, chosen, policy)
        if refusal is not None:
            chosen.difference_update(_name(node) for node in region)
            reasons.update((_name(node), refusal) for node in region)
    for node in nodes:
        if _has_kernel(node, policy) and _moves_floats(node) and _name(node) not in chosen:
            reasons.setdefault(_name(node), _neighbour_reason(node, chosen, policy))
    return Placement(tuple(_name(node) for node in nodes if _name(node) in chosen), reasons)


def restricted(
    model: ir.Model, integer: Collection[str], weighted: Collection[str], policy: QuantPolicy
) -> tuple[str, ...]:
    """The part of a placement that remains when only some of its weighted nodes stay integer.

    What only moved values or added them between nodes that are float now leaves with those, so
    that ranges of the whole placement serve every part of it.

    Args:
        model: The float graph.
        integer: Names of a whole placement (`place`).
        weighted: Names of its weighted nodes that stay.
        policy: The target's policy.
    """
    nodes = list(model.graph)
    kept = {_name(node) for node in nodes if node.op_type in policy.weighted} & set(weighted)
    chosen = kept & set(integer)
    if policy.inputs_only:
        return with_neighbours(model, chosen, policy)
    _grow(nodes, chosen, policy)
    chosen &= set(integer)
    _shrink(nodes, chosen, policy)
    return tuple(_name(node) for node in nodes if _name(node) in chosen)


def quantized_values(
    model: ir.Model, integer: Iterable[str], policy: QuantPolicy
) -> list[ir.Value]:
    """The activations that pass through Q/DQ, in graph order.

    What an integer node reads; and what it writes, unless its kernel can write float and nobody
    reads the result as integer. A value that is absorbed by the activation behind it has none.
    """
    if policy.inputs_only:
        return values_read(model, integer, policy)
    names = set(integer)
    found: dict[ir.Value, None] = {}
    for node in model.graph:
        if _name(node) not in names:
            continue
        if node.op_type not in policy.absorbed:
            found.update((value, None) for value in activations(node))
        readers = [reader for value in node.outputs for reader in consumers(value)]
        absorbed = len(readers) == 1 and _is_absorbed(readers[0], names, policy)
        read_as_integer = any(_name(reader) in names for reader in readers)
        float_output = _may_write_float(_origin(node, policy), readers, policy)
        if not absorbed and (read_as_integer or not float_output):
            found.update((value, None) for value in node.outputs if value.name)
    return list(found)


def activations(node: ir.Node) -> list[ir.Value]:
    """The inputs of a node that are neither weights nor constants nor parameters like shapes."""
    data = node.inputs if node.op_type in ("Add", "Mul", "Concat") else node.inputs[:1]
    return [value for value in data if value is not None and constant(value) is None]


def quantized_uses(
    value: ir.Value, integer: set[str], policy: QuantPolicy
) -> list[tuple[ir.Node, int]]:
    """The uses of a value (node, input) that see it quantized.

    When an integer node wrote it, every reader does; when a float node wrote it, the integer ones.
    Where only inputs are quantized, it is always the integer ones.
    """
    if policy.inputs_only:
        return [
            (use.node, use.idx)
            for use in value.uses()
            if use.node.name in integer and use.idx in integer_inputs(use.node, integer, policy)
        ]
    made_by = value.producer()
    everyone = made_by is not None and made_by.name in integer
    return [
        (use.node, use.idx)
        for use in value.uses()
        if everyone or (use.node.name in integer and use.node.op_type not in policy.absorbed)
    ]


def absorbing(node: ir.Node, integer: set[str], policy: QuantPolicy) -> ir.Node | None:
    """The activation that vanishes into the quantization of the node's output."""
    readers = consumers(node.outputs[0])
    return readers[0] if len(readers) == 1 and _is_absorbed(readers[0], integer, policy) else None


def why_not_quantizable(node: ir.Node) -> str | None:
    """Why a weighted operator cannot be integer; None when it can."""
    weight = node.inputs[1]
    tensor = constant(weight)
    if tensor is None:
        return "its second operand is not a constant weight"
    if tensor.dtype != ir.DataType.FLOAT:
        return f"its weight is {tensor.dtype.name.lower()}, not float32"
    if any(value is not None and constant(value) is None for value in node.inputs[2:]):
        return "its bias is not a constant"
    if node.inputs[0] is None or constant(node.inputs[0]) is not None:
        return "its input is a constant"
    if node.op_type == "MatMul" and len(tensor.shape) != 2:
        return "its weight is not a matrix"
    refusal = _why_not_gemm(node, tensor) if node.op_type == "Gemm" else None
    return refusal or why_not_finite(tensor)


def why_not_finite(weight: ir.TensorProtocol) -> str | None:
    """Why a weight has no scale; None when all of it is finite."""
    return None if np.isfinite(weight.numpy()).all() else "its weight holds NaN or infinity"


def _why_not_gemm(node: ir.Node, weight: ir.TensorProtocol) -> str | None:
    attributes = node.attributes
    if attributes.get_float("alpha", 1.0) != 1.0 or attributes.get_float("beta", 1.0) != 1.0:
        return "alpha and beta other than 1 have no integer kernel"
    if attributes.get_int("transA", 0):
        return "a transposed input has no integer kernel"
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    values = constant(bias)
    outputs = weight.shape[0 if attributes.get_int("transB", 0) else 1]
    if values is not None and values.size != outputs:
        return "its bias is not one value per output"
    return None


def _grow(nodes: list[ir.Node], chosen: set[str], policy: QuantPolicy) -> None:
    """Let nodes join until nothing changes; one sweep in graph order suffices for most graphs."""
    changed = True
    while changed:
        changed = False
        for node in nodes:
            if _name(node) not in chosen and _joins(node, chosen, policy):
                chosen.add(_name(node))
                changed = True


def _joins(node: ir.Node, chosen: set[str], policy: QuantPolicy) -> bool:
    if not _has_kernel(node, policy) or node.op_type in policy.weighted:
        return False
    operands = activations(node)
    if any(value.dtype not in (None, ir.DataType.FLOAT) for value in operands):
        return False
    if node.op_type in ("Add", "Mul", "Concat") and len(operands) != len(node.inputs):
        return False
    if not operands or any(_name(value.producer()) not in chosen for value in operands):
        return False
    if node.op_type in policy.absorbed:
        source = operands[0]
        alone = len(consumers(source)) == 1 and not source.is_graph_output()
        made_by = source.producer()
        return (
            alone
            and made_by is not None
            and made_by.op_type in policy.weighted | policy.elementwise
            and _bounds_hold_zero(node)
        )
    if node.op_type == "Pad" and not _pads_a_number(node):
        return False
    if policy.why_not_integer(node) is not None:
        return False
    return not any(value.is_graph_output() for value in node.outputs)


def _bounds_hold_zero(node: ir.Node) -> bool:
    """Whether an activation can vanish into a quantized range, which always holds zero."""
    bounds = absorbed_bounds(node)
    return bounds is not None and bounds[0] <= 0.0 <= bounds[1]


def _pads_a_number(node: ir.Node) -> bool:
    """Whether what a Pad writes is known and finite, so that it can be an integer."""
    value = scalar(node.inputs[2] if len(node.inputs) > 2 else None, 0.0)
    return value is not None and math.isfinite(value)


def _shrink(nodes: list[ir.Node], chosen: set[str], policy: QuantPolicy) -> None:
    """Drop movers and element-wise nodes that feed no integer node, from the back."""
    droppable = policy.elementwise | policy.passthrough
    for node in reversed(nodes):
        if _name(node) not in chosen or node.op_type not in droppable:
            continue
        readers = [reader for value in node.outputs for reader in consumers(value)]
        absorbed = [r for r in readers if r.op_type in policy.absorbed and _name(r) in chosen]
        if absorbed:
            readers = [reader for r in absorbed for reader in consumers(r.outputs[0])]
        arranges = node.op_type in ARRANGING and _writes_integers(node, chosen, policy)
        if not arranges and not any(_name(reader) in chosen for reader in readers):
            chosen.discard(_name(node))
            chosen.difference_update(_name(r) for r in absorbed)


def _writes_integers(node: ir.Node | None, chosen: set[str], policy: QuantPolicy) -> bool:
    """Whether what a node writes comes from kernels that round it in any case."""
    if node is None or _name(node) not in chosen:
        return False
    if node.op_type in policy.weighted:
        return node.op_type not in policy.float_output
    if node.op_type in ARRANGING | policy.absorbed | {"Concat"}:
        return all(_writes_integers(one.producer(), chosen, policy) for one in activations(node))
    return False


def _neighbour_reason(node: ir.Node, chosen: set[str], policy: QuantPolicy) -> str:
    floats = [
        _name(made_by) or f"input {value.name}"
        for value in activations(node)
        if _name(made_by := value.producer()) not in chosen
    ]
    if floats:
        return f"reads float from {floats[0]}: as integer it would be an island"
    if node.op_type in policy.absorbed:
        return _absorption_refusal(node)
    if node.op_type == "Pad" and not _pads_a_number(node):
        return "what it pads with is not a finite constant"
    why = policy.why_not_integer(node)
    if why is not None:
        return why
    if any(value.is_graph_output() for value in node.outputs):
        return "it writes an output of the graph, which is float"
    if len(activations(node)) != len(node.inputs) and node.op_type in ("Add", "Mul", "Concat"):
        return "one operand is a constant, which stays float"
    return "feeds no integer node: as integer it would only move the boundary"


def _absorption_refusal(node: ir.Node) -> str:
    """Why Relu or Clip cannot vanish into the quantization of what it reads."""
    source = activations(node)[0]
    if len(consumers(source)) > 1 or source.is_graph_output():
        return f"its input {source.name} is read elsewhere as well, so it cannot be absorbed"
    if not _bounds_hold_zero(node):
        return "its bounds are no constants around zero, so it cannot be absorbed"
    return f"{_name(source.producer())} in front of it cannot absorb it"


def _moves_floats(node: ir.Node) -> bool:
    """False for arithmetic on shapes and indices, which was never a candidate."""
    known = [value for value in activations(node) if value.dtype is not None]
    return all(value.dtype == ir.DataType.FLOAT for value in known)


def _has_kernel(node: ir.Node, policy: QuantPolicy) -> bool:
    known = policy.weighted | policy.elementwise | policy.passthrough | policy.absorbed
    return node.domain == "" and node.op_type in known


def _is_absorbed(node: ir.Node, names: set[str], policy: QuantPolicy) -> bool:
    return _name(node) in names and node.op_type in policy.absorbed


def _may_write_float(node: ir.Node, readers: list[ir.Node], policy: QuantPolicy) -> bool:
    """Whether the kernel survives a float output.

    A MatMul of matrices with an Add behind it does not: ONNX Runtime fuses the two into a float
    Gemm before it looks for Q/DQ, and only a Q in between keeps them apart.
    """
    shape = node.outputs[0].shape
    becomes_gemm = (
        node.op_type == "MatMul"
        and (shape is None or len(shape) == 2)
        and [reader.op_type for reader in readers] == ["Add"]
    )
    return node.op_type in policy.float_output and not becomes_gemm


def _origin(node: ir.Node, policy: QuantPolicy) -> ir.Node:
    """The node whose kernel writes this value: the producer behind an absorbed activation."""
    if node.op_type in policy.absorbed and node.inputs[0] is not None:
        return node.inputs[0].producer() or node
    return node


def _name(node: ir.Node | None) -> str:
    return "" if node is None else node.name or ""
