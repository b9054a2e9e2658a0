"""Where TensorRT wants Q/DQ, and which integer kernels of its do not pay.

Source: NVIDIA TensorRT documentation, "Working with Quantized Types" and "Optimizing Performance".
"""

from dataclasses import replace

import onnx_ir as ir

from calibration.scheme import Scheme
from compressor.graph.constants import constant
from exporters.base import QuantPolicy
from exporters.lint.trt.graph import CONVOLUTIONS, channels
from exporters.lint.trt.speed import LEAST_CHANNELS, is_matrix_vector, why_not_fp8

MOVED = frozenset(
    {"MaxPool", "Reshape", "Flatten", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split"}
)
"""Operators that TensorRT moves Q/DQ across, which needs one scale on both sides."""


def trt_policy() -> QuantPolicy:
    """Symmetric int8 with zero point 0, float bias, on inputs only.

    Normalization, Softmax, Gelu and attention stay as they are: TensorRT fuses them itself.
    """
    layers = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
    return QuantPolicy(
        activation=Scheme("int8", symmetric=True),
        weight=Scheme("int8", symmetric=True, per_channel=True),
        bias="float",
        weighted=layers,
        elementwise=frozenset({"Add", "AveragePool", "GlobalAveragePool"}),
        passthrough=MOVED,
        absorbed=frozenset(),
        float_output=layers,
        why_not_faster=why_not_faster,
        why_not_integer=why_not_integer,
        inputs_only=True,
    )


def fp8_policy() -> QuantPolicy:
    """8-bit floats in place of int8, where TensorRT has kernels for them.

    Average pools have none. Source: NVIDIA Model Optimizer, "Support Matrix" (per tensor for
    activations, per channel for weights, by max calibration).
    """
    return replace(
        trt_policy(),
        activation=Scheme("float8e4m3fn", symmetric=True),
        weight=Scheme("float8e4m3fn", symmetric=True, per_channel=True),
        elementwise=frozenset({"Add"}),
        why_not_faster=lambda node: why_not_faster(node, "FP8") or why_not_fp8(node),
    )


def why_not_integer(node: ir.Node) -> str | None:
    """Average pools with dilations, which TensorRT's have not, stay as they are."""
    is_pool = node.op_type == "AveragePool"
    if is_pool and any(size != 1 for size in node.attributes.get_ints("dilations", ())):
        return "average pools with dilations have no kernel of integers"
    return None


def why_not_sparse(node: ir.Node) -> str | None:
    """Why zeros in its weight do not pay at a layer; None where they may."""
    counts = channels(node)
    if counts is not None and min(counts) < LEAST_CHANNELS:
        return (
            f"{counts[0]} channels in and {counts[1]} out: sparse kernels want {LEAST_CHANNELS} "
            "or more"
        )
    if is_matrix_vector(node):
        return "a matrix-vector product has no sparse kernel"
    return None


def why_not_faster(node: ir.Node, words: str = "INT8") -> str | None:
    """Why 8 bits do not pay at a layer; None where they do."""
    counts = channels(node)
    if node.op_type in CONVOLUTIONS and counts is not None and min(counts) < LEAST_CHANNELS:
        return (
            f"{counts[0]} channels in and {counts[1]} out: below {LEAST_CHANNELS} TensorRT's "
            f"{words} mostly loses"
        )
    if is_matrix_vector(node):
        return "a matrix-vector product waits for its weights, not for arithmetic"
    weight = node.inputs[1]
    tensor = constant(weight)
    if tensor is not None and node.op_type in ("Gemm", "MatMul") and 1 in tensor.shape.numpy():
        return "a matrix-vector product waits for its weights, not for arithmetic"
    return None
