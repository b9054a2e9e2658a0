"""Sound as inputs: one channel, at the model's rate, normalized as its feature extractor does."""

from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np

from calibration.encoders.base import Fields
from compressor.errors import DataError
from compressor.graph.tensors import Array

SoundFile = Path | Any
"""A path, or an open file with the `suffix` of one."""

_SCALES = {"int16": 2.0**15, "int32": 2.0**31, "uint8": 2.0**7}
"""What integers of a .wav file are divided by."""
_EPSILON = 1e-7
"""Under the root of a variance, as in transformers' Wav2Vec2FeatureExtractor."""


@dataclass(frozen=True)
class WaveEncoder:
    """Raw waves: y = (x − mean) / √(variance + 1e-7) where the model wants that.

    Attributes:
        rate: Samples a second.
        normalize: Whether each sound gets mean 0 and variance 1.
        name: The input.
    """

    rate: int
    normalize: bool
    name: str = "input_values"

    @property
    def words(self) -> str:
        """What it does, for reports."""
        normalized = ", normalized" if self.normalize else ""
        return f"sound is heard at {self.rate} Hz{normalized}, as the model's folder says"

    def encode(self, sound: Array) -> Fields:
        """The input of one sound."""
        wave = sound.astype(np.float32)
        if self.normalize:
            wave = (wave - wave.mean()) / np.sqrt(wave.var() + _EPSILON)
        return {self.name: wave[np.newaxis].astype(np.float32)}


@dataclass(frozen=True)
class FeatureEncoder:
    """Spectra, by the feature extractor of transformers that the model's folder names.

    Attributes:
        extractor: It is called with a wave and its rate.
        rate: Samples a second.
    """

    extractor: Any
    rate: int

    @property
    def words(self) -> str:
        """What it does, for reports."""
        kind = type(self.extractor).__name__
        return f"sound becomes features at {self.rate} Hz by {kind}, as the model's folder says"

    def encode(self, sound: Array) -> Fields:
        """The inputs of one sound."""
        made = self.extractor(sound, sampling_rate=self.rate, return_tensors="np")
        return {name: np.asarray(array) for name, array in made.items() if name != "attention_mask"}


def read_sound(path: SoundFile, rate: int, where: str) -> Array:
    """A sound file as one channel of float32 in −1…1 at a rate.

    `.wav` is read by SciPy; other kinds by the package soundfile, where it is installed.

    Raises:
        DataError: The file cannot be read, or is empty.
    """
    stored, own = _decoded(path, where)
    if stored.size == 0:
        raise DataError(f"{where}: {path} holds no sound", hint="Remove or replace it.")
    wave = stored.mean(axis=1) if stored.ndim == 2 else stored
    return resampled(wave.astype(np.float32), own, rate)


def resampled(wave: Array, own: int, rate: int) -> Array:
    """A wave at another rate, by a polyphase filter."""
    if own == rate:
        return wave
    from scipy.signal import resample_poly  # noqa: PLC0415 - slow to import

    common = gcd(own, rate)
    return np.asarray(resample_poly(wave, rate // common, own // common), np.float32)


def _decoded(path: SoundFile, where: str) -> tuple[Array, int]:
    if path.suffix.lower() == ".wav":
        from scipy.io import wavfile  # noqa: PLC0415 - slow to import

        try:
            own, stored = wavfile.read(path)
        except Exception as error:  # ValueError, struct.error and others
            raise _broken(path, error, where) from error
        scale = _SCALES.get(stored.dtype.name, 1.0)
        centre = 128.0 if stored.dtype == np.uint8 else 0.0
        return (stored.astype(np.float64) - centre) / scale, int(own)
    try:
        import soundfile  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DataError(
            f"{where}: {path} is read by the package soundfile, which is not installed",
            hint="pip install 'compressor[data]', or convert it to .wav.",
        ) from error
    try:
        stored, own = soundfile.read(path)
    except Exception as error:  # its own class below RuntimeError
        raise _broken(path, error, where) from error
    return np.asarray(stored), int(own)


def _broken(path: object, error: Exception, where: str) -> DataError:
    said = str(error).strip().splitlines() or [type(error).__name__]
    return DataError(
        f"{where}: {path} is no readable audio file: {said[0]}", hint="Remove or replace it."
    )
