"""Sounds as pictures: which outputs are sounds, and where a tone lies."""

import base64
import io

import numpy as np
from PIL import Image

from compressor.evaluation.spectrograms import is_sound, spectrograms

TIME = np.arange(4096) / 8000


def test_a_sound_is_told_by_its_name_or_a_rate_beside_it():
    sound = np.zeros((1, 4096), np.float32)
    assert is_sound("wav_out", sound, ["wav_out"])
    assert is_sound("y", sound, ["y", "sample_rate"])
    assert not is_sound("y", sound, ["y"])
    assert not is_sound("audio", np.zeros((2, 4096), np.float32), ["audio"])
    assert not is_sound("audio", np.zeros(100, np.float32), ["audio"])


def test_the_original_is_on_the_left_and_high_tones_are_up():
    low, high = (np.sin(2 * np.pi * hertz * TIME).astype(np.float32) for hertz in (500, 3000))
    found = spectrograms(low, high)
    assert found is not None
    png = Image.open(io.BytesIO(base64.b64decode(found.partition(",")[2]))).convert("L")
    pixels = np.asarray(png, np.float64)
    half = pixels.shape[1] // 2
    left, right = (
        int(part.mean(axis=1).argmax()) for part in (pixels[:, : half - 4], pixels[:, half + 4 :])
    )
    rows = pixels.shape[0]
    assert abs(left - rows * (1 - 500 / 4000)) <= 3
    assert abs(right - rows * (1 - 3000 / 4000)) <= 3


def test_what_is_not_finite_has_no_picture():
    assert spectrograms(TIME, np.full(4096, np.nan)) is None
    assert spectrograms(np.zeros(4096), np.zeros(4096)) is not None
