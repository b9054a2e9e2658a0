"""Quantization schemes, their parameters, and the numpy reference of QuantizeLinear.

The uniform affine quantizer of Jacob et al. 2018 (arXiv 1712.05877, section 2.1):
    q = clip(round(x / scale) + zero_point, qmin, qmax),   x̂ = (q - zero_point) · scale
with rounding half to even, as ONNX defines it. 8-bit floats are symmetric, and have their own
neighbours in place of integers (Micikevicius et al. 2022, arXiv 2209.05433):
    q = float8(clip(x / scale, -448, 448)),   x̂ = q · scale
"""

from dataclasses import dataclass
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
Codes = npt.NDArray[Any]
"""What is stored: integers or 8-bit floats, of the scheme's type."""
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
"""E4M3 without infinities: ±448, three bits of mantissa, steps of 2⁻⁹ below 2⁻⁶."""
FLOAT8_MAX = 448


@dataclass(frozen=True)
class Scheme:
    """The quantization scheme of a tensor.

    Attributes:
        dtype: The stored type.
        symmetric: Whether real zero sits in the middle (int8: zero point 0); 8-bit floats are.
        per_channel: Whether each slice along the channel axis has its own scale.
        bits: Bits in use.
        pairs: Whether two weights that a CPU sums in 16 bits have to fit into these.
    """

    dtype: Literal["uint8", "int8", "float8e4m3fn"]
    symmetric: bool
    per_channel: bool = False
    bits: int = 8
    pairs: bool = False

    @property
    def is_float(self) -> bool:
        """Whether 8-bit floats are stored."""
        return self.dtype == "float8e4m3fn"

    @property
    def stored(self) -> np.dtype[Any]:
        """The type of what is stored, and of zero points."""
        return FLOAT8 if self.is_float else np.dtype(self.dtype)

    @property
    def qmin(self) -> int:
        """The least code in use. Symmetric ranges are narrow: ±127, not -128."""
        if self.is_float:
            return -self.qmax
        if self.dtype == "uint8":
            return 0
        return -(1 << (self.bits - 1)) + (1 if self.symmetric else 0)

    @property
    def qmax(self) -> int:
        """The greatest code in use."""
        if self.is_float:
            return FLOAT8_MAX
        return (1 << (self.bits if self.dtype == "uint8" else self.bits - 1)) - 1

    @property
    def middle(self) -> int:
        """The code of real zero in a symmetric range."""
        return 1 << (self.bits - 1) if self.dtype == "uint8" else 0

    @property
    def last_step(self) -> int:
        """The step from the greatest code but one to the greatest."""
        return 32 if self.is_float else 1


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point: scalars per tensor, vectors of the axis' length per channel."""

    scheme: Scheme
    scale: npt.NDArray[np.float32]
    zero_point: Codes
    axis: int | None = None


def params_from_range(low: float, high: float, scheme: Scheme) -> QuantParams:
    """Per-tensor parameters that cover [low, high] and represent zero exactly.

    A range of no extent (a constant-zero tensor) gets scale 1: a scale of 0 is invalid.
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
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
    return QuantParams(scheme, np.array(scale, np.float32), np.array(zero_point, scheme.stored))


def quantize(values: FloatArray, params: QuantParams) -> Codes:
    """Q = clip(round(x / scale) + zero_point, qmin, qmax), rounding half to even.

    What lies beyond the greatest 8-bit float becomes that, not NaN; NaN stays.
    """
    scale, zero_point = _along_axis(params, values.ndim)
    scheme, scaled = params.scheme, values.astype(np.float32, copy=False) / scale
    if not scheme.is_float:
        scaled = np.rint(scaled) + zero_point
    codes: Codes = np.clip(scaled, scheme.qmin, scheme.qmax).astype(scheme.stored)
    return codes


def dequantize(values: Codes, params: QuantParams) -> npt.NDArray[np.float32]:
    """x̂ = (q - zero_point) · scale."""
    scale, zero_point = _along_axis(params, values.ndim)
    if params.scheme.is_float:
        return values.astype(np.float32) * scale
    return (values.astype(np.int32) - zero_point.astype(np.int32)).astype(np.float32) * scale


def _along_axis(params: QuantParams, rank: int) -> tuple[npt.NDArray[np.float32], Codes]:
    if params.axis is None:
        return params.scale, params.zero_point
    shape = [1] * rank
    shape[params.axis] = -1
    return params.scale.reshape(shape), params.zero_point.reshape(shape)
