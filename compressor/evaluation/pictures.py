"""What a person can see of a model's input: an image as PNG, token ids as text."""

import base64
import io
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from compressor.graph.tensors import Array

LARGEST = 96
"""Pixels of the longer side; larger images are reduced to it."""

SMALLEST = 8
"""Pixels of the shorter side; anything smaller is no image."""

MOST_TOKENS = 24

_PREFIX = "data:image/png;base64,"
_ROUNDING = 1e-3


def picture(array: Array, stored: Array | None, largest: int = LARGEST) -> str | None:
    """One sample as a PNG in a data URI.

    Values become gray levels 0 to 255 as they are where they are bytes, times 255 where they lie
    in 0 to 1, and stretched from their least to their largest elsewhere.

    Args:
        array: The model's input without its batch axis.
        stored: The input before it was normalized, where that can be undone.
        largest: Pixels of the longer side, to which larger images are reduced.

    Returns:
        None where it does not look like an image: three axes, of which the first or the last has
        1 or 3 entries and the others `SMALLEST` or more, of numbers that are finite.
    """
    pixels = channels_last(array if stored is None else stored)
    if pixels is None or not np.isfinite(pixels.astype(np.float64)).all():
        return None
    return png(_levels(pixels, are_bytes=stored is not None or pixels.dtype == np.uint8), largest)


def tokens(inputs: Mapping[str, Array]) -> str | None:
    """The first input that is a row of integers, shortened; None where there is none."""
    for array in inputs.values():
        if array.ndim == 1 and array.dtype.kind in "iu":
            told = " ".join(str(int(value)) for value in array[:MOST_TOKENS])
            return told if len(array) <= MOST_TOKENS else f"{told} … ({len(array):,} tokens)"
    return None


def channels_last(array: Array) -> Array | None:
    """(height, width, channels) of what looks like an image, whichever way it is laid out."""
    if array.ndim != 3 or array.dtype.kind not in "fiu":
        return None
    for moved in (array.transpose(1, 2, 0), array):
        height, width, channels = moved.shape
        if channels in (1, 3) and min(height, width) >= SMALLEST:
            return moved
    return None


def _levels(pixels: Array, *, are_bytes: bool) -> npt.NDArray[np.uint8]:
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if are_bytes and (pixels.dtype == np.uint8 or (low >= -0.5 and 1 + _ROUNDING < high <= 255.5)):
        scaled = values
    elif low >= -_ROUNDING and high <= 1 + _ROUNDING:
        scaled = values * 255
    else:
        scaled = (values - low) * (255 / (high - low or 1.0))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def side_by_side(before: Array, after: Array) -> str | None:
    """Two samples as one PNG, the first on the left, in the same gray levels.

    Returns:
        None where they do not look like images of one size.
    """
    one, other = channels_last(before), channels_last(after)
    if one is None or other is None or one.shape != other.shape:
        return None
    return picture(np.concatenate([one, other], axis=1), None, 2 * LARGEST)


def png(levels: npt.NDArray[np.uint8], largest: int) -> str:
    """Pixels (height, width, 1 or 3) as a PNG in a data URI, reduced to `largest` at most."""
    from PIL import Image  # noqa: PLC0415 - only where there are images

    image = Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)
    image.thumbnail((largest, largest))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return _PREFIX + base64.b64encode(buffer.getvalue()).decode("ascii")
