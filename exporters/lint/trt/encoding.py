"""What the integers of Q/DQ mean: TensorRT knows symmetric signed ones only.

Source: measured with the parser of TensorRT-RTX 1.7; NVIDIA, "Working with Quantized Types".
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from exporters.lint.base import Finding, Rule
from exporters.trt.graph import (
    DEQUANTIZE,
    QUANTIZE,
    element_type,
    known,
    nodes,
    operand,
    shape,
    stored,
)

ZERO_POINT = Rule(
    "zero-point",
    "error",
    "Quantize symmetrically: int8 with zero point 0, so scale = max|x| / 127.",
)
UNSIGNED = Rule("uint8", "error", "Quantize to int8: give QuantizeLinear an int8 zero point of 0.")
INT32_BIAS = Rule(
    "int32-bias", "error", "Keep the bias in float: leave it out of the quantization."
)
INTEGER_TYPE = Rule(
    "integer-type", "error", "Quantize to int8; TensorRT also knows float8e4m3fn, and int4 weights."
)
SCALE = Rule(
    "scale",
    "error",
    "Give it a small positive scale: clamp it from below, as for an all-zero channel.",
)
SCALE_SHAPE = Rule(
    "scale-shape",
    "error",
    "Give scale and zero point one shape: one value a channel, or one in all.",
)

INTEGERS = frozenset({ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT4E2M1})
SIGNED_4_BIT = ir.DataType.INT4


def zero_point(model: ir.Model) -> Iterator[Finding]:
    """Asymmetric quantization is rejected, and so is a zero point that is not a constant.

    "Non-zero zero point is not supported"; the other is refused when the engine is built.
    """
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        value = operand(node, 2)
        if value is None:
            continue
        tensor = known(value)
        if tensor is None:
            yield ZERO_POINT.at(
                node, "its zero point is not a constant, which no engine can be built with"
            )
            continue
        numbers = tensor.numpy().astype(np.float64).ravel()
        if np.any(numbers != 0):
            first = numbers[numbers != 0][0]
            yield ZERO_POINT.at(node, f"its zero point is {first:g}; TensorRT rejects any but 0")


def unsigned(model: ir.Model) -> Iterator[Finding]:
    """uint8 activations are read as int8: everything above 127 becomes negative.

    The parser says so in a warning, or for a QuantizeLinear without a zero point (where uint8 is
    ONNX's default) not at all. Integers that no QuantizeLinear writes, as of weights, are rejected,
    and so is an attribute that asks for uint8.
    """
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        if _integer_type(node) != ir.DataType.UINT8:
            continue
        if "output_dtype" in node.attributes or not _is_activation(node):
            yield UNSIGNED.at(node, "TensorRT rejects its uint8")
        elif operand(node, 2) is None:
            yield UNSIGNED.at(
                node, "without a zero point ONNX means uint8, which TensorRT silently reads as int8"
            )
        else:
            yield UNSIGNED.at(
                node, "TensorRT reads its uint8 as int8: wrong numbers and at most a warning"
            )


def int32_bias(model: ir.Model) -> Iterator[Finding]:
    """A bias in int32, as ONNX Runtime wants it, is rejected: DequantizeLinear takes no int32."""
    for node in nodes(model, DEQUANTIZE):
        if _integer_type(node) == ir.DataType.INT32:
            yield INT32_BIAS.at(node, "it dequantizes int32, a bias as a rule; TensorRT rejects it")


def integer_type(model: ir.Model) -> Iterator[Finding]:
    """Other integers than int8 are rejected, but for 4-bit weights."""
    elsewhere = (ir.DataType.UINT8, ir.DataType.INT32)
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        kind = _integer_type(node)
        if kind is None or kind in INTEGERS or kind in elsewhere:
            continue
        name = kind.name.lower()
        if kind == SIGNED_4_BIT:
            if stored(operand(node, 0)) is None:
                yield INTEGER_TYPE.at(node, "int4 is for weights, and this is an activation")
        else:
            yield INTEGER_TYPE.at(node, f"TensorRT has no Q/DQ of {name}")


def scale(model: ir.Model) -> Iterator[Finding]:
    """A scale that is zero, negative or NaN is rejected; an infinite one is accepted silently.

    Of 4-bit integers the parser takes any scale, and negative ones are in use: they make the range
    -7...8 of -8...7. There only what is not finite is wrong.
    """
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        tensor = known(operand(node, 1))
        if tensor is None:
            continue
        numbers = tensor.numpy().astype(np.float64).ravel()
        in_4_bits = _integer_type(node) == SIGNED_4_BIT
        bad = np.flatnonzero(~(np.isfinite(numbers) & ((numbers > 0) | in_4_bits)))
        if bad.size:
            at = (
                ""
                if numbers.size == 1
                else f" (channel {bad[0]}, and {bad.size} of {numbers.size} in all)"
            )
            silent = in_4_bits or np.all(np.isinf(numbers[bad]))
            wanted = "finite" if in_4_bits else "positive and finite"
            yield SCALE.at(
                node,
                f"a scale of {numbers[bad[0]]:g}{at} is not {wanted}; it is "
                f"{'accepted silently' if silent else 'rejected'}",
            )


def scale_shape(model: ir.Model) -> Iterator[Finding]:
    """One zero point for many scales is rejected, and so are scales that do not fit the axis."""
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        scales, zeros = shape(operand(node, 1)), shape(operand(node, 2))
        if scales is None or None in scales:
            continue
        if zeros is not None and _count(zeros) != _count(scales):
            yield SCALE_SHAPE.at(
                node,
                f"{_count(scales)} scales and {_count(zeros)} zero points; TensorRT rejects it",
            )
        axis = node.attributes.get_int("axis", 1)
        sizes = shape(operand(node, 0))
        blocked = node.attributes.get_int("block_size", 0)
        if blocked or sizes is None or _count(scales) == 1:
            continue
        if not -len(sizes) <= axis < len(sizes):
            yield SCALE_SHAPE.at(node, f"its axis {axis} does not exist in {len(sizes)} dimensions")
        elif sizes[axis] not in (None, _count(scales)):
            yield SCALE_SHAPE.at(
                node, f"{_count(scales)} scales along axis {axis}, which has {sizes[axis]} channels"
            )


def _integer_type(node: ir.Node) -> ir.DataType | None:
    """The type of a node's integers; ONNX's default for QuantizeLinear is uint8."""
    if node.op_type == DEQUANTIZE:
        return element_type(operand(node, 0)) or element_type(operand(node, 2))
    zero = operand(node, 2)
    if zero is not None:
        return element_type(zero)
    return ir.DataType(node.attributes.get_int("output_dtype", 0) or ir.DataType.UINT8)


def _is_activation(node: ir.Node) -> bool:
    """Whether a node writes integers from floats, or reads what such a node wrote."""
    if node.op_type == QUANTIZE:
        return True
    value = operand(node, 0)
    while value is not None and (made_by := value.producer()) is not None:
        if made_by.op_type == QUANTIZE:
            return True
        value = operand(made_by, 0)
    return False


def _count(sizes: tuple[int | None, ...]) -> int:
    return int(np.prod([size or 1 for size in sizes]))
