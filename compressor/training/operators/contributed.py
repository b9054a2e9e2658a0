"""Operators of ONNX Runtime's own domain, `com.microsoft`, as fusions and stored weights make them.

(ONNX Runtime, ContribOperators.md.)
"""

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes
from compressor.training.operators import activations, normalization, recurrent
from compressor.training.operators.quantization import rounded


def fast_gelu(node: Attributes, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """Gelu by tanh, of x + bias."""
    return functional.gelu(x if bias is None else x + bias, approximate="tanh")


def bias_gelu(node: Attributes, x: Tensor, bias: Tensor) -> Tensor:
    """Gelu of x + bias."""
    return functional.gelu(x + bias)


def quick_gelu(node: Attributes, x: Tensor) -> Tensor:
    """X · sigmoid(alpha · x)."""
    return x * torch.sigmoid(node.get("alpha", 1.702) * x)


def fused_mat_mul(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Alpha · x · y, with either transposed."""
    left = x.mT if node.get("transA", 0) else x
    right = y.mT if node.get("transB", 0) else y
    return node.get("alpha", 1.0) * (left @ right)  # type: ignore[no-any-return]


def skip_layer_normalization(
    node: Attributes,
    x: Tensor,
    skip: Tensor,
    scale: Tensor,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """The norm of x + skip + bias, and that sum as the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    one = Attributes(node.name, node.operator, node.version, 1, node.values)
    made = normalization.layer_normalization(one, total, scale, shift)
    empty = torch.empty(0)
    return made, empty, empty, total


def simplified_layer_normalization(node: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    """X / √(mean of x² + ε) · scale."""
    return normalization.rms_normalization(node, x, scale)


def skip_simplified_layer_normalization(
    node: Attributes, x: Tensor, skip: Tensor, scale: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, ...]:
    """The same of x + skip + bias, and that sum as the fourth output."""
    total = x + skip if bias is None else x + skip + bias
    empty = torch.empty(0)
    return normalization.rms_normalization(node, total, scale), empty, empty, total


def mat_mul_n_bits(
    node: Attributes,
    x: Tensor,
    packed: Tensor,
    scales: Tensor,
    zeros: Tensor | None = None,
    places: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """X · Wᵀ with W (n, k) in blocks of integers along k, low bits first.

    Raises:
        NotImplementedError: Columns are in another order.
    """
    step, offset = blocks_of(node, scales, zeros)
    bytes_ = packed.reshape(step.shape[0], step.shape[1], -1)
    codes = unpacked(bytes_, node.get("bits", 4))[..., : node.get("block_size")].to(step.dtype)
    return _multiplied(node, x, (codes - offset) * step, places, bias)


def fake_mat_mul_n_bits(
    node: Attributes,
    x: Tensor,
    real: Tensor,
    scales: Tensor,
    zeros: Tensor | None = None,
    places: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The same in training: W (n, blocks, block) in real numbers, rounded to its integers."""
    step, offset = blocks_of(node, scales, zeros)
    codes = rounded(real, step, offset, 0, 2 ** node.get("bits", 4) - 1)
    return _multiplied(node, x, (codes - offset) * step, places, bias)


def blocks_of(node: Attributes, scales: Tensor, zeros: Tensor | None) -> tuple[Tensor, Tensor]:
    """Scale and zero point of each block, (n, blocks, 1)."""
    n, bits = node.get("N"), node.get("bits", 4)
    step = scales.reshape(n, -1, 1)
    if zeros is None:
        return step, torch.tensor(float(2 ** (bits - 1)), device=scales.device)
    if zeros.dtype == torch.uint8:
        codes = unpacked(zeros.reshape(n, -1), bits)[:, : step.shape[1], None]
        return step, codes.to(scales.dtype)
    return step, zeros.reshape(step.shape)


def _multiplied(
    node: Attributes, x: Tensor, blocks: Tensor, places: Tensor | None, bias: Tensor | None
) -> Tensor:
    """X · Wᵀ of a weight in blocks, of which the last may be wider than what is left."""
    if places is not None and places.numel():
        raise NotImplementedError("columns in another order")
    return functional.linear(x, blocks.flatten(1)[:, : node.get("K")], bias)


def gather_block_quantized(
    node: Attributes, packed: Tensor, places: Tensor, scales: Tensor, zeros: Tensor | None = None
) -> Tensor:
    """Rows of a table (rows, columns) in blocks of integers along its columns.

    Raises:
        NotImplementedError: The blocks lie along another axis.
    """
    bits, block = node.get("bits", 4), node.get("block_size", 128)
    if node.get("gather_axis", 0) != 0 or packed.ndim != 2:
        raise NotImplementedError("blocks along another axis than the last of two")
    rows = packed[places.reshape(-1).long()]
    codes = unpacked(rows, bits) if packed.dtype == torch.uint8 and bits < 8 else rows
    steps = scales[places.reshape(-1).long()].repeat_interleave(block, 1)[:, : codes.shape[1]]
    offset: Tensor | float = float(2 ** (bits - 1)) if packed.dtype == torch.uint8 else 0.0
    if zeros is not None:
        own = zeros[places.reshape(-1).long()]
        own = unpacked(own, bits) if bits < 8 else own
        offset = own.repeat_interleave(block, 1)[:, : codes.shape[1]].to(steps.dtype)
    made = (codes.to(steps.dtype) - offset) * steps
    return made.reshape(*places.shape, -1)


def dynamic_quantize_lstm(  # noqa: PLR0913, PLR0917 - as many as the operator has
    node: Attributes,
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h: Tensor | None,
    c: Tensor | None,
    peepholes: Tensor | None,
    w_scale: Tensor,
    w_zero: Tensor,
    r_scale: Tensor,
    r_zero: Tensor,
) -> tuple[Tensor, ...]:
    """An LSTM whose weights are integers (directions, inputs, gates · hidden)."""

    def real(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        shape = (codes.shape[0], 1, -1)
        return ((codes.float() - zero.float().reshape(shape)) * scale.reshape(shape)).mT

    weights = real(w, w_scale, w_zero), real(r, r_scale, r_zero)
    return recurrent.lstm(node, x, *weights, b, lengths, h, c, peepholes)


def gelu(node: Attributes, x: Tensor) -> Tensor:
    """Exact Gelu."""
    return activations.gelu(node, x)


def unpacked(packed: Tensor, bits: int) -> Tensor:
    """Integers of 1, 2, 4 or 8 bits out of bytes, low bits first, along the last axis."""
    if bits == 8:
        return packed
    shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.int32)
    parts: Tensor = (packed.to(torch.int32).unsqueeze(-1) >> shifts) & (2**bits - 1)
    return parts.flatten(-2)
