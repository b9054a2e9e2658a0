"""Units that differ most, side by side."""

import base64
import io

import numpy as np
from PIL import Image

from calibration.dataset import open_dataset
from compressor.pipelines.loop import SEED, Loop, UserLoop
from compressor.pipelines.sheet import SHOWN, sheet


def units(scale: float, kind: str):
    """Images, or rows of tokens, that differ the more the larger their seed is."""

    def generate(models, seed, count):
        rng = np.random.default_rng(seed)
        if kind == "text":
            row = rng.integers(0, 50, (count, 10))
            row[:, 10 - int(scale * seed / 4) :] += 1
            return {"out": row}
        image = rng.standard_normal((count, 3, 12, 12)).astype(np.float32)
        return {"out": image * np.float32(1 + scale * seed)}

    return Loop(UserLoop(generate, "generate"), {})


def shown(kind: str):
    data = open_dataset({SEED: np.arange(1, 21)}, role="evaluation")
    with units(0.0, kind) as original, units(0.1 if kind == "image" else 1.0, kind) as result:
        return sheet(original, result, data, "out").worst


def test_the_worst_images_come_first_in_pairs():
    found = shown("image")
    assert [unit.seed for unit in found] == list(range(20, 20 - SHOWN, -1))
    np.testing.assert_allclose(found[0].error, 2.0, rtol=1e-5)
    png = Image.open(io.BytesIO(base64.b64decode(found[0].image.partition(",")[2])))
    assert png.size == (24, 12)


def test_rows_of_numbers_tell_where_they_part():
    found = shown("text")
    assert found[0].seed == 20
    assert found[0].error == 0.5
    assert found[0].parts_at == 5
    assert found[0].before.split()[:5] == found[0].after.split()[:5]
    assert found[0].image is None


def test_a_text_is_shown_around_the_first_word_that_differs():
    def texts(word: int):
        def generate(models, seed, count):
            words = [f"w{i}" for i in range(60)]
            words[40] = f"w{word}"
            return {"tokens": np.full((count, 2), word), "text": np.array([" ".join(words)])}

        return Loop(UserLoop(generate, "generate"), {})

    data = open_dataset({SEED: np.arange(3)}, role="evaluation")
    with texts(1) as original, texts(2) as result:
        found = sheet(original, result, data, "tokens").worst[0]
    before, after = found.before.split(" "), found.after.split(" ")
    assert found.parts_at == 40
    assert (before[found.marked], after[found.marked]) == ("w1", "w2")
    assert before[0] == "…"
    assert before[found.marked - 1] == "w39"


def test_a_sound_is_shown_as_spectrograms():
    def sounds(scale: float):
        def generate(models, seed, count):
            wave = np.sin(np.arange(2048) * 0.3).astype(np.float32)
            return {"audio": np.stack([wave * np.float32(scale)] * count)}

        return Loop(UserLoop(generate, "generate"), {})

    data = open_dataset({SEED: np.arange(2)}, role="evaluation")
    with sounds(1.0) as original, sounds(0.9) as result:
        (found, *_) = sheet(original, result, data, "audio").worst
    assert found.sound
    assert found.image is not None
