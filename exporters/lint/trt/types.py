"""Element types: a strongly typed network converts nothing by itself.

Source: measured with the parser of TensorRT-RTX 1.7; ONNX operator specification, QuantizeLinear
13, 19 and 21.
"""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from exporters.lint.base import Finding, Rule
from exporters.lint.trt.graph import DEQUANTIZE, HALVES, QUANTIZE, element_type, nodes, operand

MIXED_TYPES = Rule(
    "mixed-types",
    "error",
    "Give all of its inputs one type: the same type for the scales in front of it and its bias.",
)
OPSET = Rule("opset", "error", "Convert the model to that opset, or keep the scales in float32.")
ELEMENT_TYPE = Rule(
    "element-type", "error", "Use float32, float16, bfloat16, int8, int32, int64 or bool."
)

SCALES_SINCE = 19
BLOCKS_SINCE = 21

UNKNOWN = frozenset(
    {"INT16", "UINT16", "UINT32", "UINT64", "STRING", "COMPLEX64", "COMPLEX128"}
    | {"FLOAT8E5M2", "FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ", "UINT4"}
)
"""What the parser refuses as an input, an output or a weight."""


def mixed_types(model: ir.Model) -> Iterator[Finding]:
    """Inputs that ONNX wants of one type and that are float32 and half are rejected.

    So the DequantizeLinear of activation and weight need scales of one type, and a half
    convolution a half bias. Behind half scales of too low an opset nothing has a sure type.
    """
    if any(_least_opset(node) > _opset(model) for node in nodes(model, QUANTIZE, DEQUANTIZE)):
        return
    for node in model.graph.all_nodes():
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            continue
        for kinds in _alike(node, _opset(model)):
            floats = sorted({kind.name.lower() for kind in kinds if kind.is_floating_point()})
            if len(floats) > 1:
                yield MIXED_TYPES.at(
                    node, f"its inputs are {' and '.join(floats)}; TensorRT rejects the mix"
                )


def opset(model: ir.Model) -> Iterator[Finding]:
    """Half scales and 8-bit floats need opset 19, 4-bit integers and blocks 21.

    The parser reads them below it all the same; ONNX's checker and ONNX Runtime refuse the file,
    so that nothing can verify it.
    """
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        least = _least_opset(node)
        if node.domain == "" and _opset(model) < least:
            yield OPSET.at(
                node,
                f"its types need opset {least} and the model has {_opset(model)}: not valid ONNX",
                fix=f"Convert the model to opset {least}, or use float32 scales and int8.",
            )


def element_types(model: ir.Model) -> Iterator[Finding]:
    """Inputs, outputs and weights of types that TensorRT does not have are rejected."""
    interface = [*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()]
    for value in dict.fromkeys(interface):
        kind = element_type(value)
        if kind is not None and kind.name in UNKNOWN:
            yield ELEMENT_TYPE.at(None, f"tensor {value.name!r} is {kind.name.lower()}, rejected")


def _alike(node: ir.Node, version: int) -> Iterator[list[ir.DataType]]:
    """Types of those inputs that the operator's schema gives one type parameter."""
    latest = max(version, 1)
    if node.domain != "" or not onnx.defs.has(node.op_type, latest):
        return
    formal = onnx.defs.get_schema(node.op_type, latest).inputs
    grouped: dict[str, list[ir.DataType]] = {}
    for index, value in enumerate(node.inputs if formal else ()):
        parameter = formal[min(index, len(formal) - 1)]
        kind = element_type(value)
        if kind is not None and parameter.is_homogeneous:
            grouped.setdefault(parameter.type_str, []).append(kind)
    yield from grouped.values()


def _least_opset(node: ir.Node) -> int:
    kinds = [element_type(value) for value in (*node.inputs, *node.outputs)]
    names = {kind.name for kind in kinds if kind is not None}
    if names & {"INT4", "UINT4", "INT16", "UINT16"} or "block_size" in node.attributes:
        return BLOCKS_SINCE
    scale = element_type(operand(node, 1))
    if scale in HALVES or any(name.startswith("FLOAT8") for name in names):
        return SCALES_SINCE
    return 0


def _opset(model: ir.Model) -> int:
    return model.opset_imports.get("", 0)
