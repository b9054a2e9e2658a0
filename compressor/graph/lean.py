"""Large models for sessions that are not timed: with as few copies of a weight as there can be.

ONNX Runtime maps weights in files into memory and computes with them where they lie. It copies one
that has to be turned round for a product, or packed in the order of a kernel. Neither is needed for
a few runs:

    MatMul(x, Transpose(W)) = FusedMatMul(x, W; transB = 1)        Gemm likewise, by its own transB
"""

import onnx_ir as ir

CONTRIB = "com.microsoft"


def without_turned_weights(model: ir.Model) -> ir.Model:
    """A copy in which products read weights as they are stored; `model` stays as it is."""
    copy = model.clone()
    for node in list(copy.graph):
        weight = None if len(node.inputs) < 2 else _turned(node.inputs[1])
        if weight is None or node.domain != "":
            continue
        if node.op_type == "MatMul":
            node.replace_input_with(1, weight)
            node.op_type, node.domain = "FusedMatMul", CONTRIB
            node.attributes["transB"] = ir.AttrInt64("transB", 1)
            copy.opset_imports.setdefault(CONTRIB, 1)
        elif node.op_type == "Gemm":
            turned = node.attributes.get_int("transB", 0)
            node.replace_input_with(1, weight)
            node.attributes["transB"] = ir.AttrInt64("transB", 1 - turned)
    for node in [node for node in copy.graph if _turned(node.outputs[0]) is not None]:
        if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
            copy.graph.remove(node, safe=True)  # the runtime would compute it all the same
    return copy


def can_run_unpacked(model: ir.Model) -> bool:
    """Whether kernels compute the same without weights in their own order.

    Those of weights in blocks of integers do not: without it they compute in float.
    """
    return all(node.domain == "" for node in model.graph)


def _turned(value: ir.Value | None) -> ir.Value | None:
    """The float32 matrix behind a Transpose of a stored weight."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != "Transpose" or not node.inputs:
        return None
    source = node.inputs[0]
    if source is None or source.const_value is None or not source.is_initializer():
        return None
    tensor = source.const_value
    perm = list(node.attributes.get_ints("perm", (1, 0)))
    is_matrix = len(tensor.shape) == 2 and tensor.dtype == ir.DataType.FLOAT and perm == [1, 0]
    return source if is_matrix else None
