"""Weights and biases in 8 bits: per-channel symmetric scales that minimize the squared error.

    s_c = argmin_s Σ (W_c - s · clip(round(W_c / s), -qmax, qmax))²  over s = r · max|W_c| / qmax
    bias: s_b = s_x · s_c,   q_b = round(b / s_b) in int32, zero point 0

Clipping the few largest weights a little makes every step finer (Banner et al. 2019, arXiv
1810.05723, section 3). A channel that is all zero gets scale 1. A channel whose weights are so
small that its bias would overflow int32 gets a larger scale instead, which costs that channel
nothing that shows.

Where pairs of weights have to fit into 16 bits (`pair_sums`) their integers are made to, and larger
scales are tried, too: with twice the largest one no pair is too large.

8-bit floats are finer near zero whatever the scale, so that clipping buys no finer step: theirs is
max|W_c| / 448.
"""

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.scheme import Codes, FloatArray, QuantParams, Scheme, dequantize, quantize
from compressor.quantization.pair_sums import LIMIT, limited, summed

BIAS_LIMIT = 2**30
"""Largest |q_b| allowed: half of int32, so that the accumulator has room for the products."""

SHRINK = np.linspace(1.0, 0.75, 26)
"""Shares of the largest magnitude that are tried as the clip; equal errors keep the largest."""

WIDEN = np.linspace(2.0, 1.0, 40, endpoint=False)
"""The same where pairs are limited, tried before those."""

JUDGED = 2048
"""Weights of a channel that judge a scale, about: more do not change the choice."""

BLOCK = 2**16
"""Weights that are judged at once, about: what is computed of so many stays in the cache."""

_known: WeakKeyDictionary[ir.TensorProtocol, dict[tuple[int, Scheme], QuantParams]] = (
    WeakKeyDictionary()
)


def channel_axis(node: ir.Node) -> int:
    """The axis of the weight that runs over output channels."""
    if node.op_type == "Gemm":
        return 0 if node.attributes.get_int("transB", 0) else 1
    return 1 if node.op_type in ("MatMul", "ConvTranspose") else 0


def weight_params(weight: FloatArray, axis: int, scheme: Scheme) -> QuantParams:
    """Scales of a weight along `axis` (or one for the tensor), zero points 0.

    Args:
        weight: float32, any rank.
        axis: Output channels.
        scheme: Symmetric int8, or 8-bit floats.
    """
    # Which weights judge a scale hangs on their order: without pairs it stays what it ever was, as
    # integers of a plan are kept without their scales.
    rows = summed(weight, axis) if scheme.pairs else np.moveaxis(weight, axis, 0)
    if not scheme.per_channel:
        whole = rows if scheme.pairs else weight
        scale = _best_scales(whole.reshape(1, -1), scheme)[0]
        return QuantParams(scheme, np.array(scale), np.zeros((), scheme.stored))
    scales = _best_scales(rows.reshape(weight.shape[axis], -1), scheme)
    return QuantParams(scheme, scales, np.zeros(scales.shape, scheme.stored), axis)


def tensor_params(tensor: ir.TensorProtocol, axis: int, scheme: Scheme) -> QuantParams:
    """`weight_params` of a tensor; found once, as a search makes many graphs of the same weights.

    Args:
        tensor: Whose numbers do not change.
        axis: Output channels.
        scheme: Symmetric int8, or 8-bit floats.
    """
    known = _known.setdefault(tensor, {})
    if (axis, scheme) not in known:
        known[axis, scheme] = weight_params(tensor.numpy(), axis, scheme)
    return known[axis, scheme]


def _best_scales(rows: FloatArray, scheme: Scheme) -> npt.NDArray[np.float32]:
    """The scale of each row [channels, weights] with the least squared error.

    Long rows are judged by evenly picked weights, or pairs of them, their extremes by all.
    """
    bound = np.maximum(rows.max(axis=1, initial=0.0), -rows.min(axis=1, initial=0.0))
    whole: npt.NDArray[np.float32] = (bound.astype(np.float64) / scheme.qmax).astype(np.float32)
    whole[whole < np.finfo(np.float32).tiny] = 1.0
    if scheme.is_float:
        return whole
    picked = _picked(rows, pairs=scheme.pairs)
    step = max(1, BLOCK // max(1, picked.shape[1]))
    best = [
        _least_error(picked[begin : begin + step], whole[begin : begin + step], scheme)
        for begin in range(0, len(rows), step)
    ]
    return np.concatenate([*best, whole[:0]])


def _picked(rows: FloatArray, *, pairs: bool) -> FloatArray:
    """All weights of short rows, and every so many, or so many pairs, of long ones."""
    every = max(1, rows.shape[1] // JUDGED)
    if every < 2 or not pairs:
        return rows[:, ::every]
    found = rows[:, : rows.shape[1] // 2 * 2].reshape(len(rows), -1, 2)[:, ::every]
    return np.ascontiguousarray(found).reshape(len(rows), -1)


def _least_error(
    picked: FloatArray, whole: npt.NDArray[np.float32], scheme: Scheme
) -> npt.NDArray[np.float32]:
    """The best of the scales of some rows; `whole` are those that clip nothing."""
    best: npt.NDArray[np.float32] = whole.copy()
    least = np.full(whole.shape, np.inf)
    for ratio in _shares(scheme):
        scale = np.maximum(whole * np.float32(ratio), np.finfo(np.float32).tiny)
        params = QuantParams(scheme, scale, np.zeros(scale.shape, scheme.stored), 0)
        codes = nearest_integers(picked, params, 0)
        error = np.square(dequantize(codes, params) - picked).sum(axis=1)
        np.copyto(best, scale, where=error < least)
        np.minimum(error, least, out=least)
    return best


def _shares(scheme: Scheme) -> FloatArray:
    """Shares of the largest magnitude that are tried; of fewer than 8 bits every pair fits."""
    limits = scheme.pairs and 2 * scheme.qmax > LIMIT
    return np.concatenate([WIDEN, SHRINK]) if limits else SHRINK


def nearest_integers(values: FloatArray, params: QuantParams, axis: int) -> Codes:
    """The nearest codes of a weight, with pairs that fit where they have to.

    Args:
        values: float32, any rank, as a node stores it.
        params: Its scales.
        axis: Output channels.
    """
    codes = quantize(values, params)
    return limited(codes, _scaled(values, params), axis) if params.scheme.pairs else codes


def _scaled(values: FloatArray, params: QuantParams) -> FloatArray:
    """Weights over their scales."""
    scale = params.scale
    if params.axis is not None:
        scale = scale.reshape([-1 if i == params.axis else 1 for i in range(values.ndim)])
    scaled: FloatArray = values / scale
    return scaled


def weight_integers(
    values: FloatArray, params: QuantParams, own: QuantParams, chosen: Codes | None, axis: int
) -> Codes:
    """The codes of a weight: those that were chosen for its own scales, else the nearest.

    Args:
        values: float32, any rank, as a node stores it.
        params: The scales that are stored.
        own: Those of `weight_params`; a channel whose scale was raised is rounded anew.
        chosen: Chosen integers, of the shape of `values`; None rounds to the nearest.
        axis: Output channels.
    """
    nearest = nearest_integers(values, params, axis)
    if chosen is None:
        return nearest
    same = np.asarray(params.scale == own.scale)
    if params.axis is not None:
        shape = [1] * values.ndim
        shape[params.axis] = -1
        same = same.reshape(shape)
    codes = np.where(same, chosen, nearest)
    return limited(codes, _scaled(values, params), axis) if params.scheme.pairs else codes


def fit_bias(params: QuantParams, bias: FloatArray, input_scale: float) -> QuantParams:
    """Raise weight scales where the bias would not fit into int32 otherwise."""
    least = np.abs(bias.astype(np.float64)) / (input_scale * BIAS_LIMIT)
    if params.axis is None:
        least = least.max(initial=0.0)
    scale = np.maximum(params.scale, np.asarray(least, np.float32))
    return QuantParams(params.scheme, scale, params.zero_point, params.axis)


def quantize_bias(
    bias: FloatArray, input_scale: float, params: QuantParams
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Integer bias and its scale, which is the product the kernel assumes, in float32."""
    scale = (np.float32(input_scale) * params.scale).astype(np.float32)
    scale = np.broadcast_to(scale, bias.shape).astype(np.float32)
    whole = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    return np.clip(whole, -(2**31), 2**31 - 1).astype(np.int32), scale
