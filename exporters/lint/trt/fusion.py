"""Q/DQ that keeps TensorRT from fusing: at residual additions, concatenations, BatchNorm.

Source: NVIDIA, "Working with Quantized Types", Q/DQ layer-placement recommendations.
"""

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from compressor.graph.names import label
from exporters.lint.base import Finding, Rule
from exporters.trt.graph import (
    CONVOLUTIONS,
    DEQUANTIZE,
    QUANTIZE,
    dequantizer,
    is_integer,
    known,
    nodes,
    operand,
    readers,
    stored,
)

RESIDUAL_ADD = Rule(
    "residual-add",
    "warning",
    "Put Q/DQ on the shortcut only, and none between the convolution and the Add.",
)
CONCAT_SCALES = Rule(
    "concat-scales",
    "warning",
    "Quantize every input of the Concat, and its output, with one scale.",
)
BATCH_NORM = Rule(
    "batch-norm", "warning", "Fold BatchNorm into the layer before quantizing; `compress` does."
)


def residual_add(model: ir.Model) -> Iterator[Finding]:
    """Conv + Add (+ Relu) is one integer kernel when the other summand arrives quantized.

    Q/DQ between the convolution and the Add takes them apart; a shortcut without Q/DQ makes the
    kernel read, and its producer write, four bytes for one.
    """
    for node in nodes(model, "Add"):
        sides = [operand(node, 0), operand(node, 1)]
        if any(value is None or stored(value) is not None for value in sides):
            continue
        fusible = [_convolution(value) is not None for value in sides]
        quantized = [dequantizer(value) for value in sides]
        behind = [_convolution(_before_quantizer(made_by)) for made_by in quantized]
        if sum(fusible) == 1 and quantized[fusible.index(False)] is None:
            shortcut = sides[fusible.index(False)]
            name = shortcut.name if shortcut else ""
            yield RESIDUAL_ADD.at(node, f"its shortcut {name!r} has no Q/DQ and is read in float")
        elif all(fusible):
            yield RESIDUAL_ADD.at(
                node,
                "it adds two integer convolutions of which neither passes Q/DQ",
                fix="Put Q/DQ on one of the two, as the shortcut.",
            )
        elif not any(fusible) and any(behind):
            branch = next(made_by for made_by in behind if made_by is not None)
            yield RESIDUAL_ADD.at(
                node, f"Q/DQ between {label(branch)!r} and the Add keeps the two from fusing"
            )


def concat_scales(model: ir.Model) -> Iterator[Finding]:
    """A Concat of one scale copies integers; of several it has to rescale them."""
    for node in nodes(model, "Concat"):
        around = [_scale(made_by) for made_by in map(dequantizer, node.inputs) if made_by]
        if not around:
            continue
        behind = [reader for reader in readers(node.outputs[0]) if reader.op_type == QUANTIZE]
        scales = {scale for scale in (*around, *map(_scale, behind)) if scale is not None}
        if len(scales) > 1:
            least, most = min(scales), max(scales)
            yield CONCAT_SCALES.at(
                node, f"{len(scales)} different scales meet here, from {least:g} to {most:g}"
            )


def batch_norm(model: ir.Model) -> Iterator[Finding]:
    """A BatchNorm behind a quantized convolution stays a layer of its own."""
    for node in nodes(model, "BatchNormalization"):
        source = operand(node, 0)
        made_by = None if source is None else source.producer()
        if made_by is not None and is_integer(made_by):
            yield BATCH_NORM.at(node, f"it follows the integer layer {label(made_by)!r}, unfolded")


def _convolution(value: ir.Value | None) -> ir.Node | None:
    """The integer convolution that writes a value for a single reader."""
    made_by = None if value is None else value.producer()
    if value is None or made_by is None or made_by.op_type not in CONVOLUTIONS:
        return None
    alone = len(value.uses()) == 1 and not value.is_graph_output()
    return made_by if alone and is_integer(made_by) else None


def _before_quantizer(node: ir.Node | None) -> ir.Value | None:
    """The float value that a DequantizeLinear stands for."""
    integers = None if node is None or node.op_type != DEQUANTIZE else operand(node, 0)
    made_by = None if integers is None else integers.producer()
    return None if made_by is None or made_by.op_type != QUANTIZE else operand(made_by, 0)


def _scale(node: ir.Node) -> float | None:
    tensor = known(operand(node, 1))
    return None if tensor is None or tensor.size != 1 else float(np.ravel(tensor.numpy())[0])
