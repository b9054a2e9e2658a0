"""Integer kernels that exist and do not pay: sizes that do not fill them.

Source: NVIDIA, "Optimizing Performance" (channels in multiples of 32 for INT8, 8 for FP16, 16 for
sparse FP16); "Working with Quantized Types"; release notes of TensorRT 10, "Limitations" (FP8).
"""

from collections.abc import Iterator
from typing import NamedTuple

import onnx_ir as ir

from compressor.results.format import plural
from exporters.lint.base import Finding, Rule
from exporters.trt.facts import (
    CHANNELS_8_BITS,
    CHANNELS_HALF,
    CHANNELS_SPARSE_HALF,
    LEAST_CHANNELS,
    is_matrix_vector,
    is_sparse,
    thin_channels,
    why_not_fp8,
)
from exporters.trt.graph import (
    HALVES,
    channels,
    element_type,
    is_fp8,
    is_integer,
    layers,
    operand,
    weight_index,
)

UNALIGNED = Rule(
    "unaligned-channels",
    "note",
    f"Prune or widen to multiples of {CHANNELS_8_BITS} for 8 bits, else {CHANNELS_SPARSE_HALF}, "
    f"else {CHANNELS_HALF}.",
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
        if thin_channels(node) or not any(count % wanted.multiple for count in counts):
            continue
        yield UNALIGNED.at(
            node,
            f"{counts[0]} channels in, {counts[1]} out; {wanted.kernels} kernels want multiples "
            f"of {wanted.multiple}",
        )


def few_channels(model: ir.Model) -> Iterator[Finding]:
    """A convolution with a channel count below 16 is mostly faster in half than in 8 bits."""
    for node in layers(model):
        counts = thin_channels(node)
        if counts is not None and is_integer(node):
            yield FEW_CHANNELS.at(
                node,
                f"quantized with {plural(counts[0], 'channel')} in and {counts[1]} out; below "
                f"{LEAST_CHANNELS} {_words(node)} mostly loses",
            )


def fp8_convolution(model: ir.Model) -> Iterator[Finding]:
    """Convolutions that have no FP8 kernel fall back to half, behind conversions."""
    for node in layers(model):
        why = why_not_fp8(node) if is_fp8(node) else None
        if why is not None:
            yield FP8_CONVOLUTION.at(node, f"quantized to FP8: {why}")


def matrix_vector(model: ir.Model) -> Iterator[Finding]:
    """A product with one row or column uses each number of the other operand once."""
    for node in layers(model):
        if is_integer(node) and is_matrix_vector(node):
            yield MATRIX_VECTOR.at(
                node, "a quantized matrix-vector product converts more than it computes"
            )


def _alignment(node: ir.Node) -> Alignment | None:
    if is_integer(node):
        return Alignment(CHANNELS_8_BITS, _words(node))
    index = weight_index(node)
    if index is None or element_type(operand(node, index)) not in HALVES:
        return None
    if is_sparse(node, index):
        return Alignment(CHANNELS_SPARSE_HALF, "sparse FP16")
    return Alignment(CHANNELS_HALF, "FP16")


def _words(node: ir.Node) -> str:
    return "FP8" if is_fp8(node) else "INT8"


def _is_depthwise(node: ir.Node) -> bool:
    counts = channels(node)
    group = node.attributes.get_int("group", 1)
    return counts is not None and group > 1 and group == counts[0]
