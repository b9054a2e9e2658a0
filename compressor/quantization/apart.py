"""Keeps float what the runtime would make integer by itself, and wrongly.

ONNX Runtime turns any average pool between DequantizeLinear and QuantizeLinear into its integer
operator, also one whose attributes that one does not know: it then refuses the graph. A Sum of one
operand behind the pool computes nothing and is in the way.
"""

import onnx_ir as ir

from compressor.graph.initializers import free_name
from compressor.quantization.graph import consumers
from exporters.base import QuantPolicy


def keep_apart(graph: ir.Graph, policy: QuantPolicy) -> int:
    """Put a Sum behind each node that must not be fused with the Q behind it, in place.

    Args:
        graph: A graph with Q/DQ inserted.
        policy: The target's policy.

    Returns:
        How many there are.
    """
    kept = 0
    for node in list(graph):
        if node.domain != "" or node.op_type not in policy.elementwise:
            continue
        value = node.outputs[0]
        readers = [r for r in consumers(value) if r.op_type == "QuantizeLinear"]
        if not readers or policy.why_not_integer(node) is None:
            continue
        apart = ir.node("Sum", [value], name=f"{node.name}/apart")
        made = apart.outputs[0]
        made.name = free_name(graph, f"{value.name}_apart")
        made.shape, made.type = value.shape, value.type
        graph.insert_after(node, [apart])
        for reader in readers:
            reader.replace_input_with(0, made)
        kept += 1
    return kept
