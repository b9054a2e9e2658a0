"""Pads integers instead of floats.

Q → DQ → Pad → Q → DQ with one scale moves no information in float, but ONNX Runtime has no rule
that drops the inner pair around Pad, as it has for Reshape or Slice. Padding the integers says the
same: Q → Pad(q(value)) → DQ, since q(0) is the zero point.
"""

import numpy as np
import onnx_ir as ir

from calibration.scheme import QuantParams, quantize
from compressor.graph.constants import scalar
from compressor.graph.initializers import add_initializer
from compressor.quantization.graph import consumers


def pad_integers(graph: ir.Graph, integer: set[str], params: dict[str, QuantParams]) -> int:
    """Rewrite every integer Pad in place; returns how many.

    Args:
        graph: A graph with Q/DQ inserted.
        integer: Names of the integer nodes.
        params: Parameters of each quantized value, by name.
    """
    moved = 0
    for node in list(graph):
        if node.op_type != "Pad" or node.name not in integer:
            continue
        source, result = node.inputs[0], node.outputs[0]
        dequantize_node = None if source is None else source.producer()
        readers = consumers(result)
        if dequantize_node is None or [r.op_type for r in readers] != ["QuantizeLinear"]:
            continue
        value = scalar(node.inputs[2] if len(node.inputs) > 2 else None, 0.0)
        if dequantize_node.op_type != "DequantizeLinear" or value is None:
            continue
        if not _same(dequantize_node, readers[0]):
            continue
        _rewrite(graph, node, dequantize_node, readers[0], value, params[result.name or ""])
        moved += 1
    return moved


def _same(one: ir.Node, other: ir.Node) -> bool:
    """Whether two nodes have equal scale and zero point."""
    pairs = zip(one.inputs[1:], other.inputs[1:], strict=True)
    return all(scalar(a, 0.0) == scalar(b, 0.0) for a, b in pairs)


def _rewrite(
    graph: ir.Graph,
    node: ir.Node,
    dequantize_node: ir.Node,
    quantize_node: ir.Node,
    value: float,
    params: QuantParams,
) -> None:
    filler = quantize(np.array(value, np.float32), params)
    constant = add_initializer(graph, f"{node.name}/pad_value", np.asarray(filler))
    inputs = [*node.inputs, None, None]
    padded = ir.node(
        "Pad",
        [dequantize_node.inputs[0], inputs[1], constant, *([inputs[3]] if inputs[3] else [])],
        {name: attribute.value for name, attribute in node.attributes.items()},
        name=node.name,
    )
    quantized = quantize_node.outputs[0]
    result = padded.outputs[0]
    result.name, result.shape, result.dtype = (
        quantized.name,
        quantized.shape,
        ir.DataType.from_numpy(filler.dtype),
    )
    graph.insert_before(node, [padded])
    for reader, index in list(quantized.uses()):
        reader.replace_input_with(index, result)
    graph.remove([quantize_node, node], safe=True)
    if not dequantize_node.outputs[0].uses():
        graph.remove(dequantize_node, safe=True)
