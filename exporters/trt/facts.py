"""What TensorRT's kernels want and lack: the facts that policy, target and linter share.

Source: NVIDIA, "Optimizing Performance" (channels in multiples of 32 for INT8, 8 for FP16, 16 for
sparse FP16); "Working with Quantized Types"; release notes of TensorRT 10, "Limitations" (FP8).
"""

from math import prod

import numpy as np
import onnx_ir as ir

from exporters.trt.graph import (
    CONVOLUTIONS,
    channels,
    layers,
    operand,
    shape,
    stored,
    weight_index,
)

CHANNELS_8_BITS = 32
CHANNELS_SPARSE_HALF = 16
CHANNELS_HALF = 8
"""What channel counts should be multiples of, for the kernels to be filled."""
LEAST_CHANNELS = 16
"""Channels of a convolution below which 8 bits mostly lose to half."""
MOST_TAPS = 32
"""Weights of a kernel's window up to which there are FP8 convolutions."""
SPARSE_GROUP = 4
"""Neighbouring weights of which half are zero (2:4)."""

AVERAGES = frozenset({"AveragePool", "GlobalAveragePool"})
"""Pools that compute, in integers too; none in 8-bit floats."""
MOVED = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split"}
)
"""Operators that TensorRT moves Q/DQ across, which needs one scale on both sides."""


def thin_channels(node: ir.Node) -> tuple[int, int] | None:
    """Channels in and out of a convolution that has too few for 8 bits; None for any other node."""
    counts = channels(node)
    is_thin = counts is not None and min(counts) < LEAST_CHANNELS
    return counts if is_thin and node.op_type in CONVOLUTIONS else None


def why_not_fp8(node: ir.Node) -> str | None:
    """Why TensorRT has no FP8 kernel for a layer; None where it has."""
    if node.op_type == "ConvTranspose":
        return "TensorRT documents no FP8 kernel for transposed convolutions"
    if node.op_type != "Conv":
        return None
    if node.attributes.get_int("group", 1) != 1:
        return "TensorRT has no FP8 kernel for grouped convolutions"
    window = (shape(operand(node, 1)) or ())[2:]
    taps = prod(size or 1 for size in window)
    if taps > MOST_TAPS:
        return f"TensorRT has no FP8 kernel for windows of more than {MOST_TAPS}, this has {taps}"
    return None


def is_matrix_vector(node: ir.Node) -> bool:
    """Whether a Gemm or MatMul has one row or one column, by sizes that are fixed."""
    left, right = shape(operand(node, 0)), shape(operand(node, 1))
    if node.op_type in CONVOLUTIONS or left is None or right is None:
        return False
    if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) == 1:
        left = left[::-1]
    if node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1:
        right = right[::-1]
    # All leading sizes of the left operand are rows where the right one is a plain matrix.
    rows = left[:-1] if len(right) <= 2 else left[-2:-1]
    columns = right[1:] if len(right) <= 2 else right[-1:]
    return all(size == 1 for size in rows) or all(size == 1 for size in columns)


def sparse_layers(model: ir.Model) -> int:
    """How many layers have 2:4 sparse weights that a kernel may skip: none of a group's own."""
    return sum(
        (index := weight_index(node)) is not None
        and node.attributes.get_int("group", 1) == 1
        and node.op_type != "ConvTranspose"
        and is_sparse(node, index)
        for node in layers(model)
    )


def is_sparse(node: ir.Node, index: int) -> bool:
    """Whether of every four weights along the input channels at least two are zero (2:4).

    Args:
        node: A layer.
        index: Which of its inputs is the weight.
    """
    tensor = stored(operand(node, index))
    if tensor is None or len(tensor.shape) < 2:
        return False
    weight = tensor.numpy()
    along = 1 if node.op_type == "Conv" or node.attributes.get_int("transB", 0) == 1 else 0
    if node.op_type == "MatMul":
        along = weight.ndim - 2
    if weight.shape[along] % SPARSE_GROUP:
        return False
    grouped = np.moveaxis(weight, along, -1).reshape(-1, SPARSE_GROUP)
    return bool(np.all(np.count_nonzero(grouped, axis=1) <= SPARSE_GROUP // 2))
