"""Two sounds as a person can look at them: their spectrograms side by side.

S[f, t] = 10·log10 |Σ_n w[n]·x[n + t·hop]·e^(-2πifn/N)|², with Hann windows w of N samples that
overlap by three quarters, in dB below the loudest of both sounds (Oppenheim and Schafer,
Discrete-Time Signal Processing, 10.3).
"""

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from compressor.evaluation.pictures import png
from compressor.evaluation.roles import words
from compressor.graph.tensors import Array

NAMES = frozenset({"audio", "waveform", "wave", "wav", "speech", "sound"})
RATES = frozenset({"sample_rate", "sampling_rate", "samplerate", "sr"})
"""Outputs of a loop that tell how many samples a second has."""
LEAST = 512
"""Samples of a sound."""
FLOOR = 80.0
"""Decibels below the loudest that are black."""
_WINDOW = 256
_COLUMNS = 192
_GAP = 4
"""Pixels between the two."""

FloatArray = npt.NDArray[np.float64]


def is_sound(name: str, array: Array, beside: Collection[str]) -> bool:
    """Whether an output is a sound: one long axis, by its name or with a sample rate beside it.

    Args:
        name: The output.
        array: One unit of it.
        beside: Names of all outputs.
    """
    told = not NAMES.isdisjoint(words(name)) or not RATES.isdisjoint(map(str.lower, beside))
    return told and array.dtype.kind in "fi" and array.size == max(array.shape, default=0) >= LEAST


def spectrograms(before: Array, after: Array) -> str | None:
    """Both as one PNG in a data URI, the first on the left; time to the right, frequency upwards.

    Returns:
        None where a sample is not finite.
    """
    sounds = [np.asarray(one, np.float64).reshape(-1) for one in (before, after)]
    if not all(np.isfinite(sound).all() for sound in sounds):
        return None
    powers = [_powers(sound) for sound in sounds]
    loudest = max(float(power.max()) for power in powers) or 1.0
    levels = [_levels(power / loudest) for power in powers]
    gap = np.full((levels[0].shape[0], _GAP, 3), 255, np.uint8)
    return png(np.concatenate([levels[0], gap, levels[1]], axis=1), 2 * _COLUMNS + _GAP)


def _powers(sound: FloatArray) -> FloatArray:
    """|STFT|² of shape (frequencies, columns); of a long sound, columns are picked."""
    starts = np.arange(0, len(sound) - _WINDOW + 1, _WINDOW // 4)
    picked = starts[np.linspace(0, len(starts) - 1, min(len(starts), _COLUMNS)).round().astype(int)]
    frames = np.stack([sound[start : start + _WINDOW] for start in picked])
    spectrum = np.fft.rfft(frames * np.hanning(_WINDOW), axis=1)
    return np.asarray(np.square(np.abs(spectrum)).T, np.float64)


def _levels(power: FloatArray) -> npt.NDArray[np.uint8]:
    from matplotlib import colormaps  # noqa: PLC0415 - only where there is sound

    decibels = 10 * np.log10(np.maximum(power, 10 ** (-FLOOR / 10)))
    colours = colormaps["magma"](1 + decibels[::-1] / FLOOR)[..., :3]
    return np.asarray(np.rint(255 * colours), np.uint8)
