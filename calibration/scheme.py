"""Quantization schemes, their parameters, and the numpy reference of QuantizeLinear.

The uniform affine quantizer of Jacob et al. 2018 (arXiv 1712.05877, section 2.1):
    q = clip(round(x / scale) + zero_point, qmin, qmax),   x̂ = (q - zero_point) · scale
with rounding half to even, as ONNX defines it.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Scheme:
    """How a tensor is quantized.

    Attributes:
        dtype: The stored integer type.
        symmetric: Whether real zero sits in the middle (int8: zero point 0).
        per_channel: Whether each slice along the channel axis has its own scale.
        bits: Bits in use; 7 keeps weights in [-64, 63], so that the pairwise 16-bit sums of
            CPUs without VNNI cannot saturate.
    """

    dtype: Literal["uint8", "int8"]
    symmetric: bool
    per_channel: bool = False
    bits: int = 8

    @property
    def qmin(self) -> int:
        """The least integer in use. Symmetric ranges are narrow: ±127, not -128."""
        if self.dtype == "uint8":
            return 0
        return -(1 << (self.bits - 1)) + (1 if self.symmetric else 0)

    @property
    def qmax(self) -> int:
        """The greatest integer in use."""
        return (1 << (self.bits if self.dtype == "uint8" else self.bits - 1)) - 1

    @property
    def middle(self) -> int:
        """The integer of real zero in a symmetric range."""
        return 0 if self.dtype == "int8" else 1 << (self.bits - 1)


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point: scalars per tensor, vectors of the axis' length per channel."""

    scheme: Scheme
    scale: npt.NDArray[np.float32]
    zero_point: npt.NDArray[np.integer]
    axis: int | None = None


def params_from_range(low: float, high: float, scheme: Scheme) -> QuantParams:
    """Per-tensor parameters that cover [low, high] and represent zero exactly.

    A range of no extent (a constant-zero tensor) gets scale 1: a scale of 0 is invalid.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    dtype = np.dtype(scheme.dtype)
    if scheme.symmetric:
        bound = max(-low, high)
        zero_point = scheme.middle
        scale = bound / (scheme.qmax - zero_point)
    else:
        scale = (high - low) / (scheme.qmax - scheme.qmin)
        zero_point = 0 if scale == 0.0 else round(scheme.qmin - low / scale)
    if scale < SMALLEST_SCALE:
        scale, zero_point = 1.0, scheme.middle if scheme.symmetric else scheme.qmin
    zero_point = int(np.clip(zero_point, scheme.qmin, scheme.qmax))
    return QuantParams(scheme, np.array(scale, np.float32), np.array(zero_point, dtype))


def quantize(values: FloatArray, params: QuantParams) -> npt.NDArray[np.integer]:
    """Q = clip(round(x / scale) + zero_point, qmin, qmax), rounding half to even."""
    scale, zero_point = _along_axis(params, values.ndim)
    rounded = np.rint(values.astype(np.float32, copy=False) / scale) + zero_point
    clipped = np.clip(rounded, params.scheme.qmin, params.scheme.qmax)
    whole: npt.NDArray[np.integer] = clipped.astype(params.scheme.dtype)
    return whole


def dequantize(values: npt.NDArray[np.integer], params: QuantParams) -> npt.NDArray[np.float32]:
    """x̂ = (q - zero_point) · scale."""
    scale, zero_point = _along_axis(params, values.ndim)
    return (values.astype(np.int32) - zero_point.astype(np.int32)).astype(np.float32) * scale


def _along_axis(
    params: QuantParams, rank: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.integer]]:
    if params.axis is None:
        return params.scale, params.zero_point
    shape = [1] * rank
    shape[params.axis] = -1
    return params.scale.reshape(shape), params.zero_point.reshape(shape)
