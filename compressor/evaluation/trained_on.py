"""Whether data looks like what a model was trained on, by its first BatchNormalization.

The node holds the mean and the variance that its input had in training. Data that was not
normalized as then, or has another range or another order of channels, has others.
"""

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.taps import Taps, feeds_of
from compressor.evaluation.metrics.base import FloatArray
from compressor.graph.session import open_session

SAMPLES = 64
_BATCH = 8
FAR = 0.5
"""Divergence, in nats, of the median channel that is told."""


def unlike_training(
    model: ir.Model, data: CalibrationSet, fixed: int | None, words: str = "the data"
) -> str | None:
    """A notice where the data does not look like the training data; None where it may.

    The divergence of a channel is that of two normal distributions (Kullback and Leibler 1951),
        D = (v/v₀ + (m - m₀)²/v₀ - 1 - ln(v/v₀)) / 2,
    m and v of the data, m₀ and v₀ of the node; the median of all channels is what counts.

    Args:
        model: The captured graph.
        data: Samples, bound to its inputs.
        fixed: The batch that is baked in.
        words: What the data is.
    """
    node = _first_norm(model)
    if node is None or node.inputs[0] is None:
        return None
    mean, variance = (_statistics(node.inputs[i]) for i in (3, 4))
    if mean is None or variance is None or _is_fresh(mean, variance):
        return None
    moments = _moments(model, node.inputs[0], data, fixed)
    if moments is None or moments[0].shape != mean.shape:
        return None
    found, spread = moments
    floor = np.maximum(variance, 1e-12)
    ratio = np.maximum(spread, 1e-12) / floor
    shift = (found - mean) ** 2 / floor
    divergence = float(np.median((ratio + shift - 1 - np.log(ratio)) / 2))
    if divergence <= FAR:
        return None
    return (
        f"{words} does not look like what the model was trained on. In front of {node.name!r}, its "
        f"first BatchNormalization, values are {np.median(np.sqrt(ratio)):.2g} times as wide as in "
        f"training and {np.median(np.sqrt(shift)):.2g} standard deviations away (median of the "
        "channels). Look at --mean, --std, --scale and --layout"
    )


def _first_norm(model: ir.Model) -> ir.Node | None:
    return next((node for node in model.graph if node.op_type == "BatchNormalization"), None)


def _statistics(value: ir.Value | None) -> FloatArray | None:
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy().astype(np.float64)


def _is_fresh(mean: FloatArray, variance: FloatArray) -> bool:
    """Whether the node never saw data: its statistics are those it was made with."""
    return not mean.any() and bool(np.ptp(variance) == 0)


def _moments(
    model: ir.Model, value: ir.Value, data: CalibrationSet, fixed: int | None
) -> tuple[FloatArray, FloatArray] | None:
    """Mean and variance of each channel, the second axis; None where that cannot be run."""
    taps = Taps(model)
    own = taps.own(value)
    if own is None:
        return None
    name = taps.output(own)
    total, squares, count = 0.0, 0.0, 0
    try:
        session = open_session(taps.finished())
        wanted = [one.name for one in session.get_inputs()]
        for piece in data.take(SAMPLES).batches(fixed or _BATCH):
            feeds = feeds_of(piece, fixed)
            (array,) = session.run([name], {key: feeds[key] for key in wanted})
            exact = np.moveaxis(np.asarray(array, np.float64), 1, 0).reshape(array.shape[1], -1)
            total, squares = total + exact.sum(axis=1), squares + (exact**2).sum(axis=1)
            count += exact.shape[1]
    except Exception:  # the runtime raises its own classes, and a hint is no reason to fail
        return None
    mean = np.asarray(total) / count
    return mean, np.maximum(np.asarray(squares) / count - mean**2, 0)
