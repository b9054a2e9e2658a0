"""Questions that several rules ask: which nodes quantize, which layers are integer, their shapes.

The parser tells operators by name and ignores their domain, so these functions do too. An
initializer that is also an input is a constant for it.
"""

from collections.abc import Iterator
from math import prod

import onnx_ir as ir

from compressor.graph.chatter import silenced
from compressor.graph.constants import constant
from compressor.graph.inlining import inline
from compressor.graph.shapes import infer_shapes

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"
CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
PRODUCTS = frozenset({"Gemm", "MatMul"})
LAYERS = CONVOLUTIONS | PRODUCTS
"""The operators whose inputs TensorRT wants quantized."""

MOVERS = frozenset({"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice"})
"""Operators that Q/DQ passes without a change of numbers, by which TensorRT moves it."""

HALVES = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16})

Shape = tuple[int | None, ...]
"""Sizes; None where one is symbolic or unknown."""


def prepared(model: ir.Model) -> ir.Model:
    """A copy with local functions inlined and with the types and shapes that follow."""
    copy = model.clone()
    if copy.functions:
        with silenced():
            inline(copy)
    return infer_shapes(copy)


def nodes(model: ir.Model, *operators: str) -> Iterator[ir.Node]:
    """The nodes of these operators, of control-flow bodies too."""
    return (node for node in model.graph.all_nodes() if node.op_type in operators)


def layers(model: ir.Model) -> Iterator[ir.Node]:
    """Convolutions and matrix products."""
    return nodes(model, *LAYERS)


def operand(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None when it is left out."""
    return node.inputs[index] if len(node.inputs) > index else None


def known(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of a value that TensorRT takes for a constant."""
    return constant(value, overridable=True)


def stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant that a value comes from through Q/DQ, casts and movers; None if it has none."""
    while value is not None:
        tensor = known(value)
        made_by = value.producer()
        if tensor is not None or made_by is None:
            return tensor
        if made_by.op_type not in MOVERS | {QUANTIZE, DEQUANTIZE, "Cast"}:
            return None
        value = operand(made_by, 0)
    return None


def weight_index(node: ir.Node) -> int | None:
    """Which input of a layer is its weight; None for a product of two activations."""
    if node.op_type in CONVOLUTIONS:
        return 1
    return next((index for index in (1, 0) if stored(operand(node, index)) is not None), None)


def dequantizer(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that a value comes from, through nothing but movers."""
    while value is not None and (made_by := value.producer()) is not None:
        if made_by.op_type == DEQUANTIZE:
            return made_by
        if made_by.op_type not in MOVERS:
            return None
        value = operand(made_by, 0)
    return None


def readers(value: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a value, through movers."""
    waiting = [value]
    while waiting:
        for node in dict.fromkeys(waiting.pop().consumers()):
            if node.op_type in MOVERS:
                waiting.extend(node.outputs)
            else:
                yield node


def is_integer(node: ir.Node) -> bool:
    """Whether a layer gets an integer kernel: both its operands are dequantized."""
    return node.op_type in LAYERS and all(dequantizer(operand(node, i)) for i in (0, 1))


def is_fp8(node: ir.Node) -> bool:
    """Whether a layer reads 8-bit floats."""
    made_by = dequantizer(operand(node, 0))
    read = None if made_by is None else element_type(operand(made_by, 0))
    return is_integer(node) and read == ir.DataType.FLOAT8E4M3FN


def shape(value: ir.Value | None) -> Shape | None:
    """The sizes of a value; None when not even its rank is known."""
    if value is None:
        return None
    found = value.shape
    if found is None and (tensor := known(value)) is not None:
        return tuple(tensor.shape.numpy())
    return None if found is None else tuple(d if isinstance(d, int) else None for d in found)


def elements(value: ir.Value | None) -> int | None:
    """How many elements a value has; None when a size is not known."""
    sizes = shape(value)
    if sizes is None or None in sizes:
        return None
    return prod(size for size in sizes if size is not None)


def channels(node: ir.Node) -> tuple[int, int] | None:
    """Channels that a layer with a weight reads and writes; None when they are not known.

    Conv W is (C_out, C_in / group, ...), ConvTranspose W is (C_in, C_out / group, ...), Gemm B is
    (K, N) or with transB (N, K), MatMul B is (..., K, N); a constant left operand is (..., M, K).
    """
    index = weight_index(node)
    sizes = None if index is None else shape(operand(node, index))
    if sizes is None or len(sizes) < 2:
        return None
    is_convolution = node.op_type in CONVOLUTIONS
    first, second = sizes[:2] if is_convolution else sizes[-2:]
    if first is None or second is None:
        return None
    group = node.attributes.get_int("group", 1)
    if node.op_type == "Conv":
        return second * group, first
    if node.op_type == "ConvTranspose":
        return first, second * group
    output_first = index == 0 or node.attributes.get_int("transB", 0) == 1
    return (second, first) if output_first else (first, second)


def element_type(value: ir.Value | None) -> ir.DataType | None:
    """The type of a value; what DequantizeLinear writes has its scale's, whatever the opset."""
    while value is not None and (made_by := value.producer()) is not None:
        if made_by.op_type != DEQUANTIZE:
            break
        value = operand(made_by, 1)
    if value is None:
        return None
    tensor = known(value)
    return value.dtype if tensor is None else tensor.dtype
