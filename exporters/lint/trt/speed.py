"""Integer kernels that exist and do not pay: sizes that do not fill them.

Source: NVIDIA, "Optimizing Performance" (channels in multiples of 32 for INT8, 8 for FP16, 16 for
sparse FP16); "Working with Quantized Types"; release notes of TensorRT 10, "Limitations" (FP8).
"""

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np
import onnx_ir as ir

from exporters.lint.base import Finding, Rule
from exporters.lint.trt.graph import (
    CONVOLUTIONS,
    HALVES,
    channels,
    element_type,
    is_fp8,
    is_integer,
    layers,
    operand,
    shape,
    stored,
    weight_index,
)

UNALIGNED = Rule(
    "unaligned-channels",
    "note",
    "Prune or widen to multiples of 32 for 8 bits, else 16, else 8.",
)
FEW_CHANNELS = Rule(
    "few-channels", "warning", "Leave it in float, without Q/DQ on its input and its weight."
)
MATRIX_VECTOR = Rule(
    "matrix-vector", "warning", "Leave it in float: it waits for its weights, not for arithmetic."
)
FP8_CONVOLUTION = Rule(
    "fp8-convolution", "warning", "Leave it in half, or quantize the graph to INT8."
)

LEAST_CHANNELS = 16
MOST_TAPS = 32
"""Weights of a kernel's window up to which there are FP8 convolutions."""
SPARSE_GROUP = 4


class Alignment(NamedTuple):
    """A number that channels should be a multiple of, and for which kernels."""

    multiple: int
    kernels: str


def unaligned_channels(model: ir.Model) -> Iterator[Finding]:
    """Tensor cores work on whole groups of channels; what is missing is padded and computed.

    Depthwise convolutions do not run there, and convolutions of few channels have a rule.
    """
    for node in layers(model):
        counts, wanted = channels(node), _alignment(node)
        if counts is None or wanted is None or _is_depthwise(node):
            continue
        has_few = node.op_type in CONVOLUTIONS and min(counts) < LEAST_CHANNELS
        if has_few or not any(count % wanted.multiple for count in counts):
            continue
        yield UNALIGNED.at(
            node,
            f"{counts[0]} channels in, {counts[1]} out; {wanted.kernels} kernels want multiples "
            f"of {wanted.multiple}",
        )


def few_channels(model: ir.Model) -> Iterator[Finding]:
    """A convolution with a channel count below 16 is mostly faster in half than in 8 bits."""
    for node in layers(model):
        counts = channels(node)
        if node.op_type not in CONVOLUTIONS or counts is None or not is_integer(node):
            continue
        if min(counts) < LEAST_CHANNELS:
            yield FEW_CHANNELS.at(
                node,
                f"quantized with {counts[0]} channels in and {counts[1]} out; below "
                f"{LEAST_CHANNELS} {_words(node)} mostly loses",
            )


def fp8_convolution(model: ir.Model) -> Iterator[Finding]:
    """Convolutions that have no FP8 kernel fall back to half, behind conversions."""
    for node in layers(model):
        why = why_not_fp8(node) if is_fp8(node) else None
        if why is not None:
            yield FP8_CONVOLUTION.at(node, f"quantized to FP8: {why}")


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


def matrix_vector(model: ir.Model) -> Iterator[Finding]:
    """A product with one row or column uses each number of the other operand once."""
    for node in layers(model):
        if is_integer(node) and is_matrix_vector(node):
            yield MATRIX_VECTOR.at(
                node, "a quantized matrix-vector product converts more than it computes"
            )


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


def _alignment(node: ir.Node) -> Alignment | None:
    if is_integer(node):
        return Alignment(32, _words(node))
    index = weight_index(node)
    if index is None or element_type(operand(node, index)) not in HALVES:
        return None
    return Alignment(16, "sparse FP16") if _is_sparse(node, index) else Alignment(8, "FP16")


def _words(node: ir.Node) -> str:
    return "FP8" if is_fp8(node) else "INT8"


def _is_depthwise(node: ir.Node) -> bool:
    counts = channels(node)
    group = node.attributes.get_int("group", 1)
    return counts is not None and group > 1 and group == counts[0]


def sparse_layers(model: ir.Model) -> int:
    """How many layers have 2:4 sparse weights that a kernel may skip: none of a group's own."""
    return sum(
        (index := weight_index(node)) is not None
        and node.attributes.get_int("group", 1) == 1
        and node.op_type != "ConvTranspose"
        and _is_sparse(node, index)
        for node in layers(model)
    )


def _is_sparse(node: ir.Node, index: int) -> bool:
    """Whether of every four weights along the input channels at least two are zero (2:4)."""
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
