"""What ONNX Runtime rounds of its own accord, and how a graph keeps it from doing harm.

Its optimizer WeightBiasQuantization (from 1.22) takes a Conv, ConvTranspose or Gemm between
DequantizeLinear of one scale s_x and QuantizeLinear, with at most Relu and Clip in front of that,
for one whose integers are not complete, and completes them: a float bias becomes

    int32(round(b / (s_x · s_w))) · (s_x · s_w)

in the type of the scales, and a weight that is float32 becomes int8 with one scale for the tensor.
The first is exact enough but where b / (s_x · s_w) leaves int32, or in half is beyond 65,504 or
divided by a product that became 0. The second undoes what was left in float for quality's sake.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, free_name

ROUNDED = frozenset({"Conv", "ConvTranspose", "Gemm"})
_PASSED = frozenset({"Relu", "Clip"})
HALF_LIMIT = 2.0**15
"""Largest |b / (s_x · s_w)| in half: half of what it holds, as the product is rounded, too."""
HALF_LEAST = 2.0**-22
"""Least s_x · s_w in half: two bits above the least number that there is."""


def is_rounded(node: ir.Node) -> bool:
    """Whether the optimizer takes a layer: it has one scale in front, and Q behind."""
    scale = _input_scale(node)
    return node.op_type in ROUNDED and scale is not None and scale.size == 1 and _meets_q(node)


def least_half_scales(node: ir.Node) -> npt.NDArray[np.float64] | None:
    """Least scales of the weights of a layer in half with which its bias survives, one a channel.

    Raising a scale to them costs less than the output's own integers: a step of such a channel is
    0.4 % of its bias at most, as the largest product is 127² / 2¹⁵ of it.

    Returns:
        None where nothing is rounded.
    """
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    tensor = constant(bias)
    scale = _input_scale(node)
    if tensor is None or scale is None or len(tensor.shape) != 1 or not is_rounded(node):
        return None
    values = np.abs(tensor.numpy().astype(np.float64))
    needed = np.where(values > 0, np.maximum(values / HALF_LIMIT, HALF_LEAST), 0.0)
    return np.asarray(needed / float(scale.reshape(-1)[0]))


def shield_floats(graph: ir.Graph) -> int:
    """Keep float weights float, in place: DQ in front of such a layer gets a scale a channel.

    All are the same, so that the numbers are, too; the optimizer passes over what has several.

    Returns:
        How many layers were shielded.
    """
    found = 0
    for node in list(graph):
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        tensor = constant(weight)
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or not is_rounded(node):
            continue
        axis, channels = _channels_in(node, tensor.shape.numpy())
        restored = node.inputs[0]
        if channels < 2 or restored is None:
            continue
        node.replace_input_with(0, _by_channel(graph, restored, axis, channels))
        found += 1
    return found


def _by_channel(graph: ir.Graph, restored: ir.Value, axis: int, channels: int) -> ir.Value:
    """A copy of a DequantizeLinear with its scale and zero point repeated for each channel."""
    made = restored.producer()
    assert made is not None, "it was found behind one"
    name = free_name(graph, f"{restored.name}_by_channel")
    inputs = [made.inputs[0]]
    for value in made.inputs[1:]:
        tensor = constant(value)
        if tensor is None:
            inputs.append(value)
            continue
        repeated = np.full(channels, tensor.numpy().reshape(-1)[0])
        key = free_name(graph, f"{value.name if value else name}_by_channel")
        inputs.append(add_initializer(graph, key, repeated))
    attributes = {**made.attributes, "axis": ir.AttrInt64("axis", axis)}
    node = ir.Node("", "DequantizeLinear", inputs, attributes.values(), name=f"{name}/DQ")
    node.outputs[0].name, node.outputs[0].shape = name, restored.shape
    node.outputs[0].type = restored.type
    graph.insert_after(made, node)
    return node.outputs[0]


def _channels_in(node: ir.Node, weight: Sequence[int]) -> tuple[int, int]:
    """The axis of a layer's input that its weights run over, and its size."""
    if node.op_type == "Gemm":
        rows = weight[1] if node.attributes.get_int("transB", 0) else weight[0]
        return (0 if node.attributes.get_int("transA", 0) else 1), rows
    if node.op_type == "ConvTranspose":
        return 1, weight[0]
    return 1, weight[1] * node.attributes.get_int("group", 1)


def _input_scale(node: ir.Node) -> npt.NDArray[np.float64] | None:
    """The scale of DequantizeLinear in front of a layer."""
    restored = node.inputs[0] if node.inputs else None
    made = None if restored is None else restored.producer()
    if made is None or made.op_type != "DequantizeLinear" or made.inputs[1] is None:
        return None
    scale = constant(made.inputs[1])
    return None if scale is None else scale.numpy().astype(np.float64)


def _meets_q(node: ir.Node) -> bool:
    """Whether QuantizeLinear alone reads what a layer writes, but for Relu and Clip on the way."""
    return any(reader.op_type == "QuantizeLinear" for reader in _path(node))


def _path(node: ir.Node) -> Iterator[ir.Node]:
    while True:
        value = node.outputs[0]
        readers = value.consumers()
        if len(readers) != 1 or value.is_graph_output():
            return
        node = readers[0]
        yield node
        if node.op_type not in _PASSED:
            return
