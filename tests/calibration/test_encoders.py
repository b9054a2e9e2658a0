import json

import numpy as np
import pytest
from hub_folders import WORDS, tokenizer_of
from PIL import Image
from scipy.io import wavfile

from calibration.dataset import open_dataset
from calibration.encoders.finding import encoders_of, picture_fields
from calibration.encoders.model_folder import ModelFolder, model_folder, task_by_name
from calibration.encoders.pictures import PictureEncoder
from calibration.encoders.sound import WaveEncoder, read_sound
from compressor.errors import DataError

pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    size = tokenizer_of(path)
    config = {
        "architectures": ["BertForSequenceClassification"],
        "vocab_size": size,
        "type_vocab_size": 2,
        "max_position_embeddings": 10,
        "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
    }
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_texts_become_tokens_of_their_own_lengths(folder, tmp_path):
    data = tmp_path / "reviews.csv"
    data.write_text("text,label\na good film,POSITIVE\na bad long film,NEGATIVE\n")
    encoders = encoders_of(model_folder(folder))
    opened = open_dataset(f"{data}:text,label", encoders=encoders)
    batches = list(opened.batches(4))
    assert [batch.inputs["input_ids"].shape for batch in batches] == [(1, 5), (1, 6)]
    assert "cut at 10, each at its own length" in opened.made_by
    assert set(batches[0].inputs) == {"input_ids", "attention_mask", "token_type_ids"}
    assert [int(batch.labels[0]) for batch in batches] == [1, 0]
    first = batches[0].inputs["input_ids"][0].tolist()
    assert first == [2, *(5 + WORDS.index(word) for word in ("a", "good", "film")), 3]


def test_texts_are_cut_where_the_model_ends(folder):
    encoders = encoders_of(model_folder(folder))
    (made,) = encoders.text.encode([" ".join(["film"] * 40)], None, "data")
    assert made["input_ids"].shape == (1, 10)  # the least of 10 positions and 12 of the tokenizer


def test_a_model_of_one_length_gets_texts_filled_up(folder):
    encoders = encoders_of(model_folder(folder))
    (made,) = encoders.text.of_length(7).encode(["a film"], None, "data")
    assert made["attention_mask"].tolist() == [[1, 1, 1, 1, 0, 0, 0]]
    assert made["input_ids"][0, 4:].tolist() == [0, 0, 0]
    (made,) = encoders.text.encode(["a film"], None, "data")  # the other is as it was
    assert made["input_ids"].shape == (1, 4)


def test_a_tokenizer_of_another_model_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 8}))
    encoders = encoders_of(model_folder(folder))
    with pytest.raises(DataError, match=r"makes token 1\d of text 2, and the model has 8"):
        encoders.text.encode(["the a", "a film"], None, "calibration data x")


def test_texts_without_a_tokenizer_say_what_is_missing(tmp_path):
    data = tmp_path / "texts.txt"
    data.write_text("a good film\n")
    with pytest.raises(DataError, match="nothing says how it becomes numbers") as info:
        open_dataset(data)
    assert "--tokenizer" in info.value.hint


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"image_mean": [0.5], "image_std": [0.2], "size": {"height": 8, "width": 6}},
            {"size": (8, 6), "fit": "stretch", "mean": (0.5,), "scale": 1 / 255},
        ),
        (
            {"image_mean": [0], "image_std": [1], "size": {"shortest_edge": 256}, "resample": 3,
             "do_center_crop": True, "crop_size": {"height": 224, "width": 224}},
            {"size": (224, 224), "crop": 0.875, "fit": "cover", "interpolation": "bicubic"},
        ),
        (
            {"pretrained_cfg": {"input_size": [3, 224, 224], "crop_pct": 0.9, "mean": [0.4] * 3,
                                "std": [0.2] * 3, "interpolation": "bicubic"}},
            {"size": (224, 224), "crop": 0.9, "interpolation": "bicubic", "mean": (0.4,) * 3},
        ),
    ],
)  # fmt: skip
def test_preprocessing_of_pictures_is_the_folders(config, expected):
    found = picture_fields(config)
    assert {name: found[name] for name in expected} == expected
    assert picture_fields({"feature_extractor_type": "Wav2Vec2FeatureExtractor"}) is None


def test_a_folder_of_pictures_is_read_as_a_single_picture_is(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("cat", "cow"):
        (tmp_path / "data" / name).mkdir(parents=True)
        pixels = rng.integers(0, 255, (40, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / name / "one.png")
    known = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2] * 3,
             "size": {"height": 8, "width": 8}}  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model/preprocessor_config.json").write_text(json.dumps(known))
    config = {"architectures": ["X"], "id2label": {"0": "cow", "1": "cat"}}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    encoders = encoders_of(model_folder(tmp_path / "model"))
    (batch,) = open_dataset(tmp_path / "data", encoders=encoders).batches(2)
    assert batch.labels.tolist() == [1, 0]  # the model counts cows first
    opened = open_dataset(tmp_path / "data", encoders=encoders)
    assert "size 8, 8; fit stretch" in opened.made_by
    single = PictureEncoder(encoders.images).encode(tmp_path / "data/cat/one.png")
    np.testing.assert_allclose(batch.inputs["image"][:1], single["pixel_values"], atol=1e-6)


def test_sound_is_read_at_the_models_rate(tmp_path):
    times = np.arange(4000) / 8000
    tone = (np.sin(2 * np.pi * 200 * times) * 2**14).astype(np.int16)
    wavfile.write(tmp_path / "tone.wav", 8000, np.stack([tone, tone], 1))
    wave = read_sound(tmp_path / "tone.wav", 16000, "data")
    assert wave.shape == (8000,)
    middle = wave[2000:6000]  # without what the filter does at both ends
    wanted = 0.5 * np.sin(2 * np.pi * 200 * np.arange(8000) / 16000)[2000:6000]
    np.testing.assert_allclose(middle, wanted, atol=5e-3)
    made = WaveEncoder(16000, normalize=True).encode(wave)["input_values"]
    assert made.shape == (1, 8000)
    np.testing.assert_allclose([made.mean(), made.std()], [0, 1], atol=1e-3)


def test_a_folder_of_sounds_and_one_that_cannot_be_read(tmp_path):
    data, model = tmp_path / "data", tmp_path / "model"
    for number, name in enumerate(("yes", "no")):
        (data / name).mkdir(parents=True)
        wavfile.write(data / name / "a.wav", 16000, np.full(100 + number, 900, np.int16))
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"architectures": ["X"]}))
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": 16000}
    (model / "preprocessor_config.json").write_text(json.dumps(extractor))
    encoders = encoders_of(model_folder(model))
    batches = list(open_dataset(data, encoders=encoders).batches(1))
    assert [batch.inputs["input_values"].shape for batch in batches] == [(1, 101), (1, 100)]
    assert [int(batch.labels[0]) for batch in batches] == [0, 1]
    (data / "yes/a.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"a\.wav is no readable audio file"):
        list(open_dataset(data, encoders=encoders).batches(1))


def test_tasks_by_the_names_of_classes(tmp_path):
    def task(name, **more):
        return task_by_name(ModelFolder(tmp_path, {"architectures": [name], **more}))

    assert task("RobertaForTokenClassification") == "token-classification"
    assert task("GPT2LMHeadModel") == "text-generation"
    assert task("BertModel") == "feature-extraction"
    assert task("Other") is None
