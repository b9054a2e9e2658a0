"""Counts a model's parameters, the same in float and quantized."""

import onnx_ir as ir

_WEIGHT_INPUTS = {
    "DequantizeLinear": (0,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
    "MatMulInteger": (1,),
    "ConvInteger": (1,),
    "QGemm": (3, 6),
    "QAttention": (1, 2),
    "DynamicQuantizeMatMul": (1, 4),
    "DynamicQuantizeLSTM": (1, 2, 3, 5, 6, 7),
    "MatMulIntegerToFloat": (1, 6),
}
"""Operators on integers: which of their inputs are weights. Scales and zero points are not."""

_NOT_WEIGHTS = {
    "QuantizeLinear": (1, 2),
    "BatchNormalization": (3, 4),
    "Resize": (1, 2),
    "Upsample": (1,),
}
"""Operators on floats: which of their inputs are none. BatchNorm's statistics are not learned,
and the numbers of a resize are a region and scales."""

_BLOCKWISE = {"MatMulNBits": 5, "GatherBlockQuantized": None}
"""Operators on blocks of integers: which of their inputs is a bias."""


def parameters(model: ir.Model) -> int:
    """Learned numbers in a model.

    Counted are the elements of every floating-point constant with more than one element, and of
    every integer constant that is a weight operand of a quantized operator or is dequantized;
    each constant once, however many nodes read it. Not counted are scales and zero points,
    BatchNorm's running statistics, scalars, and what steers shapes, indices and resizing.
    Block-wise weights (`MatMulNBits`, `GatherBlockQuantized`) count as the matrix they stand for.
    """
    total = 0
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                total += _count(value, value.const_value)
        for node in graph:
            if node.op_type == "Constant" and (tensor := node.attributes.get("value")) is not None:
                total += _count(node.outputs[0], tensor.as_tensor())
    return total


def _count(value: ir.Value, tensor: ir.TensorProtocol) -> int:
    for node, index in value.uses():
        if node.op_type == "MatMulNBits" and index == 1:
            return node.attributes["K"].as_int() * node.attributes["N"].as_int()
        if index == 0 and (bits := _bits_of_rows(node)) is not None:
            return tensor.size * 8 // bits
    floating = tensor.dtype.is_floating_point() and tensor.size > 1
    learned = any(_is_weight(node, index, floating) for node, index in value.uses())
    return tensor.size if learned else 0


def _is_weight(node: ir.Node, index: int, floating: bool) -> bool:
    if node.op_type in _WEIGHT_INPUTS:
        return index in _WEIGHT_INPUTS[node.op_type]
    if node.op_type == "Mul" and any(_is_found_scale(value) for value in node.inputs):
        return False
    if node.op_type in _BLOCKWISE:
        return floating and index == _BLOCKWISE[node.op_type]
    if index in _NOT_WEIGHTS.get(node.op_type, ()):
        return False
    return floating


def _is_found_scale(value: ir.Value | None) -> bool:
    """Whether it is a scale found at run time, which only scales are multiplied by."""
    made_by = None if value is None else value.producer()
    return made_by is not None and made_by.op_type == "DynamicQuantizeLinear"


def _bits_of_rows(node: ir.Node) -> int | None:
    """How many bits a number has in the rows that a Reshape hands to GatherBlockQuantized."""
    for reader in node.outputs[0].consumers() if node.op_type == "Reshape" else ():
        if reader.op_type == "GatherBlockQuantized":
            return reader.attributes.get_int("bits", 4)
    return None
