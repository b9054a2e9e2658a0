"""Graphs in half precision, made to compute in float32.

On the CPU ONNX Runtime has few kernels in float16, next to none in bfloat16 and no integer one that
reads either, and ranges and errors are of float32. What a target wants in half is narrowed again,
with its ranges checked. Inputs and outputs in float16 stay so; bfloat16 becomes float32 there, too,
as numpy has no such type to feed.
"""

import numpy as np
import onnx_ir as ir

from compressor.graph.casts import cast, cast_output
from compressor.graph.initializers import free_name
from compressor.graph.invariants import check
from compressor.graph.names import make_unique

HALF = ir.DataType.FLOAT16
BRAIN = ir.DataType.BFLOAT16
_HALVES = (HALF, BRAIN)
NOTICE = (
    "the model computes in float16: it is captured and measured in float32, which takes twice the "
    "room for weights; inputs and outputs keep their types"
)
BRAIN_NOTICE = (
    "the model computes in bfloat16, for which ONNX Runtime has hardly a kernel. It is captured "
    "and measured in float32, inputs and outputs too, which takes twice the room for weights. "
    "--quantize fp16 or bf16 stores weights in half"
)
_TYPED = ("to", "dtype", "output_dtype", "output_datatype", "stash_type", "softmax_precision")
"""Attributes that say what a node writes or computes in."""


def widen(model: ir.Model) -> str | None:
    """Make float32 of all that is in half, in place, but for float16 at inputs and outputs.

    Args:
        model: A model without functions.

    Returns:
        What the user should know; None where there was nothing.
    """
    has_brain = has_bfloat16(model)
    if not has_brain and not _has_half(model):
        return None
    for value in model.graph.inputs:
        if value.dtype == BRAIN:
            value.type = ir.TensorType(ir.DataType.FLOAT)
    declared = [value.dtype for value in model.graph.outputs]
    for value in model.graph.inputs:
        if value.dtype == HALF and value.uses():
            _read_widened(model.graph, value)
    for graph in model.graphs():
        inner = graph.inputs if graph is not model.graph else ()
        for value in (*graph.initializers.values(), *inner):
            if not (graph is model.graph and value.is_graph_input()):
                _widen_value(value)
        for node in graph:
            _widen_node(node)
    for index, dtype in enumerate(declared):
        if dtype == HALF and model.graph.outputs[index].dtype != HALF:
            cast_output(model.graph, index, HALF, "float32")
    make_unique(model)
    check(model, "widening to float32")
    return BRAIN_NOTICE if has_brain else NOTICE


def has_bfloat16(model: ir.Model) -> bool:
    """Whether any value is."""
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    values += [value for node in model.graph.all_nodes() for value in node.outputs]
    return any(value.dtype == BRAIN for value in values)


def _has_half(model: ir.Model) -> bool:
    """Whether anything is computed or stored in half, beside inputs that nothing reads."""
    for graph in model.graphs():
        values = [*graph.initializers.values(), *(v for node in graph for v in node.outputs)]
        if any(value.dtype == HALF for value in values):
            return True
    return any(value.dtype == HALF and value.uses() for value in model.graph.inputs)


def _widen_value(value: ir.Value) -> None:
    if value.dtype in _HALVES:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    if value.const_value is not None and value.const_value.dtype in _HALVES:
        value.const_value = _wide(value.const_value, value.name)


def _widen_node(node: ir.Node) -> None:
    for name, attribute in list(node.attributes.items()):
        if name in _TYPED and attribute.type == ir.AttributeType.INT:
            if attribute.as_int() in _HALVES:
                node.attributes[name] = ir.AttrInt64(name, int(ir.DataType.FLOAT))
        elif attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in _HALVES:
            tensor = attribute.as_tensor()
            node.attributes[name] = ir.AttrTensor(name, _wide(tensor, tensor.name))
    for value in node.outputs:
        _widen_value(value)


def _wide(tensor: ir.TensorProtocol, name: str | None) -> ir.TensorProtocol:
    return ir.Tensor(tensor.numpy().astype(np.float32), name=name)


def _read_widened(graph: ir.Graph, value: ir.Value) -> None:
    """Put a Cast behind an input."""
    uses = value.uses()
    made = cast(value, ir.DataType.FLOAT, free_name(graph, f"{value.name}_float32"))
    for node, index in uses:
        node.replace_input_with(index, made.outputs[0])
    graph.insert_before(graph[0], made)
