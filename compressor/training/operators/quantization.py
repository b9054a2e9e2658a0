"""Fake quantization: integers are carried as floats, and gradients pass straight through rounding.

    q = clamp(round(x / s) + z, low, high),    ∂q/∂x = 1/s within the range, 0 outside

(Bengio et al. 2013, arXiv 1308.3432; Jacob et al. 2018, arXiv 1712.05877, section 3). Scales and
zero points are constants: the runtime joins kernels only where they stay equal, which learned ones
would not.
"""

from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor

from compressor.training.attributes import Attributes

LIMITS = {
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT16: (-32768, 32767),
    ir.DataType.UINT16: (0, 65535),
    ir.DataType.INT32: (-(2**31), 2**31 - 1),
    ir.DataType.INT4: (-8, 7),
    ir.DataType.UINT4: (0, 15),
    ir.DataType.INT2: (-2, 1),
    ir.DataType.UINT2: (0, 3),
}
"""Least and largest integer of each type."""

STORED_AS = "stored as"
"""Of the attributes: the type of the zero point, which torch may hold in a wider one."""


class _Round(torch.autograd.Function):
    """Rounds to integers between two bounds, with the gradient of what is within them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
        """Integers, as floats."""
        made = torch.round(x / scale).add_(zero)
        ctx.save_for_backward((made >= low) & (made <= high), scale)
        return made.clamp_(low, high)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """1/s within the range, 0 outside."""
        inside, scale = ctx.saved_tensors
        return gradients[0] * inside / scale, None, None, None, None


def rounded(x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
    """Integers between two bounds, as floats; scale and zero point broadcast."""
    return _Round.apply(x, scale, zero, low, high)  # type: ignore[no-any-return, no-untyped-call]


def quantize_linear(
    node: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    """clamp(round(x / scale) + zero), as floats.

    Raises:
        NotImplementedError: The integers are 8-bit floats.
    """
    kind = ir.DataType(node.get("output_dtype", 0) or node.get(STORED_AS) or _type_of(zero))
    if kind not in LIMITS:
        raise NotImplementedError(f"integers of type {kind.name}")
    low, high = LIMITS[kind]
    s, z = along(node, x, scale), _zero(node, x, zero)
    return rounded(x.float(), s.float(), z, low, high)


def dequantize_linear(
    node: Attributes, q: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    """(q - zero) · scale."""
    s = along(node, q, scale)
    if zero is None:
        return q.to(s.dtype) * s
    return (q.to(s.dtype) - _zero(node, q, zero).to(s.dtype)) * s


def fake_quantized(
    node: Attributes, x: Tensor, scale: Tensor, zero: Tensor | None = None
) -> Tensor:
    """A weight in training: x at the nearest value that its integers stand for."""
    s, z = along(node, x, scale), _zero(node, x, zero)
    return (rounded(x, s, z, node.get("low"), node.get("high")) - z) * s


def dynamic_quantize_linear(node: Attributes, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Integers of 0 to 255 for the range of what there is, with 0 in it; its scale and zero."""
    with torch.no_grad():
        low, high = x.min().clamp(max=0), x.max().clamp(min=0)
        scale = ((high - low) / 255).clamp(min=1e-30)
        zero = torch.round(-low / scale).clamp(0, 255)
    return rounded(x, scale, zero, 0, 255), scale, zero


def along(node: Attributes, x: Tensor, given: Tensor) -> Tensor:
    """A scale for all, for each place of an axis, or for each block along it."""
    if given.ndim == 0 or given.numel() == 1:
        return given.reshape(())
    axis = node.get("axis", 1) % x.ndim
    block = node.get("block_size", 0)
    if block:
        return given.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    return given.reshape([-1 if a == axis else 1 for a in range(x.ndim)])


def _zero(node: Attributes, x: Tensor, zero: Tensor | None) -> Tensor:
    if zero is None:
        return torch.zeros((), device=x.device)
    return along(node, x, zero).float()


def _type_of(zero: Tensor | None) -> ir.DataType:
    """The type of a zero point that is computed; UINT8 without one."""
    if zero is None:
        return ir.DataType.UINT8
    return ir.DataType[str(zero.dtype).removeprefix("torch.").upper()]
