"""Along which axis there is a scale for each channel: the parser accepts any, and misreads some.

Source: measured with the parser of TensorRT-RTX 1.7, which accepts all of these silently; NVIDIA,
"Working with Quantized Types": activations per tensor, weights per output channel.
"""

from collections.abc import Iterator

import onnx_ir as ir

from exporters.lint.base import Finding, Rule
from exporters.trt.graph import (
    DEQUANTIZE,
    MOVERS,
    QUANTIZE,
    elements,
    layers,
    nodes,
    operand,
    shape,
    stored,
    weight_index,
)

PER_CHANNEL_ACTIVATION = Rule(
    "per-channel-activation", "error", "Give the activation one scale for the whole tensor."
)
WEIGHT_AXIS = Rule(
    "weight-axis",
    "error",
    "Scale per output channel: axis 0 for Conv, 1 for ConvTranspose, 0 for Gemm with transB and 1 "
    "without, the last for MatMul.",
)


def per_channel_activation(model: ir.Model) -> Iterator[Finding]:
    """Integer kernels sum over channels of one scale, so an activation has one for all."""
    for node in nodes(model, QUANTIZE, DEQUANTIZE):
        count = elements(operand(node, 1))
        if count is not None and count > 1 and stored(operand(node, 0)) is None:
            yield PER_CHANNEL_ACTIVATION.at(
                node, f"an activation with {count} scales is accepted silently and has no kernel"
            )


def weight_axis(model: ir.Model) -> Iterator[Finding]:
    """A kernel rescales its sums per output channel; scales along another axis cannot be kept.

    Block-wise scales run along the other axis by design and are left alone.
    """
    for node in layers(model):
        index = weight_index(node)
        if index is None:
            continue
        value = operand(node, index)
        rank = len(shape(value) or ())
        axis = _output_axis(node, index, rank)
        while value is not None and (made_by := value.producer()) is not None and rank:
            if made_by.op_type in (QUANTIZE, DEQUANTIZE):
                given = made_by.attributes.get_int("axis", 1)
                exists = -rank <= given < rank  # else `scale_shape` tells
                if _is_per_channel(made_by) and exists and given % rank != axis:
                    yield WEIGHT_AXIS.at(
                        made_by,
                        f"its scales run along axis {given} of the weight of {node.op_type} "
                        f"{node.name!r}, whose output channels are axis {axis}: accepted silently",
                    )
            elif made_by.op_type == "Transpose":
                order = made_by.attributes.get_ints("perm", tuple(reversed(range(rank))))
                axis = order[axis]
            elif made_by.op_type in MOVERS - {"Identity"}:
                break  # a reshaped weight has other axes
            value = operand(made_by, 0)


def _output_axis(node: ir.Node, index: int, rank: int) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm" and index == 1:
        return 0 if node.attributes.get_int("transB", 0) else 1
    return rank - 1 if index == 1 else max(rank - 2, 0)


def _is_per_channel(node: ir.Node) -> bool:
    sizes = shape(operand(node, 1))
    return sizes is not None and len(sizes) == 1 and sizes[0] not in (None, 1)
