"""Element types: a strongly typed network converts nothing by itself.

Source: measured with the parser of TensorRT-RTX 1.7; ONNX operator specification, QuantizeLinear
13, 19 and 21.
"""

from collections.abc import Iterator

import onnx_ir as ir

from compressor.graph.schemas import schema_of
from exporters.lint.base import Finding, Rule
from exporters.lint.trt.operators import MISSING
from exporters.trt.graph import (
    DEQUANTIZE,
    HALVES,
    QUANTIZE,
    element_type,
    nodes,
    operand,
    stored,
)

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
    | {"FLOAT8E5M2", "FLOAT8E4M3FNUZ", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"}
    | {"UINT4", "INT2", "UINT2"}
)
"""What the parser refuses as an input, an output, a weight or the type of a Cast."""

READS_BYTES = frozenset(
    {"Cast", "CastLike", "Shape", "Size", "Equal", "Identity", QUANTIZE, DEQUANTIZE}
)
"""What may read an input of uint8; rules of their own tell of those that quantize."""

TAKES_MIXES = frozenset({"Clip", "Pad", "Slice"})
"""Operators whose inputs may differ in type for the parser, which ONNX does not allow."""


def mixed_types(model: ir.Model) -> Iterator[Finding]:
    """Inputs of several types where ONNX wants one are rejected: nothing is converted.

    So the DequantizeLinear of activation and weight need scales of one type, and a half
    convolution a half bias. Behind half scales of too low an opset nothing has a sure type.
    """
    if any(_least_opset(node) > _opset(model) for node in nodes(model, QUANTIZE, DEQUANTIZE)):
        return
    for node in model.graph.all_nodes():
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            continue
        for kinds in _alike(node, _opset(model)):
            names = sorted({kind.name.lower() for kind in kinds})
            if len(names) > 1:
                verdict = (
                    "TensorRT takes the mix, and ONNX Runtime does not: not valid ONNX"
                    if node.op_type in TAKES_MIXES
                    else "TensorRT rejects the mix"
                )
                yield MIXED_TYPES.at(node, f"its inputs are {' and '.join(names)}; {verdict}")


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
    """Inputs, outputs, weights and casts of types that TensorRT does not have are rejected.

    uint8 it has for inputs and outputs only: an input has to be cast first, an output last.
    """
    weights = [value for graph in model.graphs() for value in graph.initializers.values()]
    for value in dict.fromkeys([*model.graph.inputs, *model.graph.outputs, *weights]):
        kind = element_type(value)
        if kind is not None and kind.name in UNKNOWN:
            yield ELEMENT_TYPE.at(None, f"tensor {value.name!r} is {kind.name.lower()}, rejected")
    for node in model.graph.all_nodes():
        if node.domain == "" and node.op_type == "Cast" and node.outputs:
            yield from _cast(node)
        elif node.domain == "" and node.op_type not in READS_BYTES | set(MISSING):
            for read in node.inputs:
                if read is not None and _is_byte(read) and read.is_graph_input():
                    yield ELEMENT_TYPE.at(
                        node,
                        f"it reads the input {read.name!r} as uint8; TensorRT rejects it",
                        fix="Cast the input to float32 or int32 before anything else.",
                    )


def _cast(node: ir.Node) -> Iterator[Finding]:
    kind, written = ir.DataType(node.attributes.get_int("to", 0)), node.outputs[0]
    if kind.name in UNKNOWN and not written.is_graph_output():
        yield ELEMENT_TYPE.at(node, f"it casts to {kind.name.lower()}, rejected")
    elif kind == ir.DataType.UINT8 and written.uses() and not written.is_graph_output():
        yield ELEMENT_TYPE.at(
            node,
            "it casts to uint8, which TensorRT has for inputs and outputs only, rejected",
            fix="Cast to int32, and to uint8 as the last node if the output has to be.",
        )


def _is_byte(value: ir.Value) -> bool:
    return element_type(value) == ir.DataType.UINT8 and stored(value) is None


def _alike(node: ir.Node, version: int) -> Iterator[list[ir.DataType]]:
    """Types of those inputs that the operator's schema gives one type parameter."""
    schema = schema_of(node, max(version, 1)) if node.domain == "" else None
    if schema is None:
        return
    formal = schema.inputs
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
