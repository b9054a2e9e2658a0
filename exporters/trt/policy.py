"""Where TensorRT wants Q/DQ, and which integer kernels of its do not pay.

Source: NVIDIA TensorRT documentation, "Working with Quantized Types" and "Optimizing Performance".
"""

from dataclasses import replace

import onnx_ir as ir

from calibration.scheme import Scheme
from compressor.graph.constants import constant
from exporters.base import QuantPolicy
from exporters.trt.facts import (
    AVERAGES,
    LEAST_CHANNELS,
    MOVED,
    is_matrix_vector,
    thin_channels,
    why_not_fp8,
)
from exporters.trt.graph import LAYERS, channels


def trt_policy() -> QuantPolicy:
    """Symmetric int8 with zero point 0, float bias, on inputs only.

    Normalization, Softmax, Gelu and attention stay as they are: TensorRT fuses them itself.
    """
    return QuantPolicy(
        activation=Scheme("int8", symmetric=True),
        weight=Scheme("int8", symmetric=True, per_channel=True),
        bias="float",
        weighted=LAYERS,
        elementwise=AVERAGES | {"Add"},
        passthrough=MOVED,
        absorbed=frozenset(),
        float_output=LAYERS,
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
    """Why an average pool stays as it is: TensorRT's have no dilations."""
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
    counts = thin_channels(node)
    if counts is not None:
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
