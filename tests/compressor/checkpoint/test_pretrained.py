"""Folders of transformers: tasks, inputs, and decoders with their caches."""

import json
import shutil

import numpy as np
import pytest
from hub_folders import classifier, decoder, translator

from calibration.dataset import open_dataset
from calibration.encoders.base import NONE
from compressor.checkpoint.source_inputs import called_by, own_inputs, told_by
from compressor.errors import CheckpointError, UsageError
from compressor.recipe.loading import ModelOptions
from compressor.recipe.notation import parse_input

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from compressor.capture import capture  # noqa: E402
from compressor.capture.source import ModelSource  # noqa: E402
from compressor.checkpoint import load_checkpoint  # noqa: E402
from compressor.checkpoint.architectures import load_pretrained, task_of_folder  # noqa: E402
from compressor.checkpoint.decoder_graphs import (  # noqa: E402
    WITH_PAST,
    decoder_graph,
    encoder_decoder_graphs,
)
from compressor.checkpoint.hub_cache import hub_folder  # noqa: E402
from compressor.checkpoint.tasks import find_task  # noqa: E402
from compressor.graph.session import open_session  # noqa: E402


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub") / "reviews"
    return folder, classifier(folder)


def test_a_folder_tells_its_task_and_its_inputs(reviews):
    folder, model = reviews
    source = load_checkpoint(folder, ModelOptions())
    assert [str(spec) for spec in source.inputs] == [
        f"{name}:int64[batch,sequence]"
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert "for text-classification" in source.notices[0]
    ids = torch.tensor([[2, 5, 7, 3]])
    mask = torch.ones_like(ids)
    made = source.module(input_ids=ids, attention_mask=mask, token_type_ids=0 * ids)
    assert list(made) == ["logits"]
    torch.testing.assert_close(made["logits"], model(input_ids=ids).logits)
    # Names of parameters are those of the user's own module: plans are carried back by them.
    assert dict(source.module.named_parameters()).keys() == dict(model.named_parameters()).keys()


@pytest.mark.parametrize("name", ["num_hidden_layers", "n_layer", "num_blocks", "depth", "layers"])
def test_more_layers_than_can_be_built_are_refused_before_any_is(tmp_path, name):
    config = {"architectures": ["NoSuchModel"], "text_config": {name: 10**9}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"{name} 1,000,000,000, more than"):
        load_pretrained(tmp_path, torch)


@pytest.mark.parametrize("name", ["vocab_size_per_layer_input", "hidden_size_per_layer"])
def test_what_is_counted_per_layer_counts_no_layers(tmp_path, name):
    config = {"architectures": ["NoSuchModel"], "text_config": {name: 262_144}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as raised:
        load_pretrained(tmp_path, torch)
    assert "NoSuchModel" in str(raised.value)
    assert name not in str(raised.value)


def test_data_goes_by_the_models_names_for_its_inputs(reviews, tmp_path):
    folder, _ = reviews
    source = load_checkpoint(folder, ModelOptions())
    tokens = np.array([[2, 5, 3], [2, 6, 3]])
    some = open_dataset({"input_ids": tokens, "attention_mask": 0 * tokens + 1, "label": [0, 1]})
    known = called_by(source, [], some)
    assert known.names == ("input_ids", "attention_mask")  # segments are optional
    assert [spec.name for spec in some.bind(known.specs).fields] == list(known.names)
    picture = open_dataset({"image": np.zeros((2, 3, 8, 8), np.float32)})
    sees = ModelSource("module", "vit", inputs=(parse_input("pixel_values:float32[batch,3,8,8]"),))
    (spec,) = called_by(sees, [], picture).specs
    assert str(picture.bind([spec]).fields[0]).startswith("pixel_values:float32")
    assert called_by(sees, [parse_input("x:float32[1]")], picture) is None
    # Sizes that the data has are the data's; what the model leaves open stays so.
    seen = picture.bind([spec]).head(2)
    assert [str(one) for one in own_inputs(sees, [], seen)] == ["pixel_values:float32[batch,3,8,8]"]
    assert [str(one) for one in own_inputs(source, [], some.bind(known.specs).head(2))] == [
        f"{name}:int64[batch,sequence]" for name in known.names
    ]


def test_a_module_of_timm_says_how_pictures_are_made():
    module = torch.nn.Identity()
    source = ModelSource("module", "net", module=module)
    assert told_by(source, NONE) is NONE
    module.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.5,) * 3, "std": (0.2,) * 3,
                             "crop_pct": 0.875, "interpolation": "bicubic"}  # fmt: skip
    images = told_by(source, NONE).images
    assert (images["size"], images["crop"], images["mean"]) == ((32, 32), 0.875, (0.5,) * 3)


def test_another_task_takes_the_class_for_it(reviews):
    folder, _ = reviews
    source = load_checkpoint(folder, ModelOptions(task="feature-extraction"))
    made = source.module(
        **{name: torch.ones((1, 3), dtype=torch.int64)
           for name in ("input_ids", "attention_mask", "token_type_ids")}
    )  # fmt: skip
    assert list(made) == ["last_hidden_state", "pooler_output"]
    with pytest.raises(UsageError, match="no class for image-classification"):
        load_checkpoint(folder, ModelOptions(task="image-classification"))
    with pytest.raises(UsageError, match="there is no such task") as info:
        find_task("text-clasification")
    assert info.value.hint == "Did you mean text-classification?"
    with pytest.raises(CheckpointError, match="are missing"):  # a head that nobody trained
        load_checkpoint(folder, ModelOptions(task="question-answering"))


def test_code_of_a_folder_is_never_run(reviews, tmp_path):
    folder = shutil.copytree(reviews[0], tmp_path / "own")
    config = json.loads((folder / "config.json").read_text())
    own = {"architectures": ["OwnModel"], "auto_map": {"AutoModel": "own.OwnModel"}}
    (folder / "config.json").write_text(json.dumps(config | own))
    (folder / "own.py").write_text("raise SystemExit('it was run')")
    with pytest.raises(CheckpointError, match="comes with code of its own"):
        load_checkpoint(folder, ModelOptions())


def fed(session, specs, sizes):
    rng = np.random.default_rng(0)
    wanted = {value.name for value in session.get_inputs()}
    feeds = {}
    for spec in specs:
        shape = [size if isinstance(size, int) else
                 sum(sizes[part] for part in size.split("+")) for size in spec.shape]  # fmt: skip
        whole = spec.dtype.kind == "i"
        array = np.ones(shape, np.int64) if whole else rng.standard_normal(shape)
        feeds[spec.name] = array.astype(spec.dtype)
    return {name: array for name, array in feeds.items() if name in wanted}


def test_a_decoder_writes_behind_its_cache_as_its_module_does(tmp_path):
    model = decoder(tmp_path / "gpt")
    found = load_pretrained(tmp_path / "gpt", torch)
    assert (found.architecture, found.task.name) == ("GPT2LMHeadModel", "text-generation")
    assert task_of_folder(tmp_path / "gpt").writes
    module, specs = decoder_graph(found.module)
    assert [spec.name for spec in specs][-2:] == [
        "past_key_values.0.key",
        "past_key_values.0.value",
    ]
    captured = capture(
        ModelSource("module", "gpt", module=module), inputs=specs, examples=None, opset=20
    )
    session = open_session(captured.model)
    assert [one.name for one in session.get_outputs()] == [
        "logits", "present.0.key", "present.0.value"
    ]  # fmt: skip
    tokens = np.array([[5, 6, 7, 8, 9]])
    feeds = fed(session, specs, {"batch": 1, "sequence": 3, "past": 0})
    feeds |= {"input_ids": tokens[:, :3], "position_ids": np.arange(3)[np.newaxis]}
    _, key, value = session.run(None, feeds)
    feeds = {
        "input_ids": tokens[:, 3:],
        "attention_mask": np.ones((1, 5), np.int64),
        "position_ids": np.array([[3, 4]]),
        "past_key_values.0.key": key,
        "past_key_values.0.value": value,
    }
    logits = session.run(["logits"], feeds)[0]
    wanted = model(torch.tensor(tokens)).logits[:, 3:].detach().numpy()
    np.testing.assert_allclose(logits, wanted, atol=1e-5)


def test_the_graphs_of_a_translator_are_optimums(tmp_path):
    translator(tmp_path / "t5")
    found = load_pretrained(tmp_path / "t5", torch)
    assert found.task.name == "text2text-generation"
    graphs = encoder_decoder_graphs(found.module)
    assert list(graphs) == ["encoder_model", "decoder_model", "decoder_with_past_model"]
    module, specs = graphs[WITH_PAST]
    captured = capture(
        ModelSource("module", "t5", module=module.eval()), inputs=specs, examples=None, opset=20
    )
    outputs = [value.name for value in captured.model.graph.outputs]
    assert outputs == ["logits", "present.0.decoder.key", "present.0.decoder.value"]
    past = [spec.name.removeprefix("past_key_values.0.") for spec in specs[-4:]]
    assert past == ["decoder.key", "decoder.value", "encoder.key", "encoder.value"]
    assert max(one.max_absolute for one in captured.parity) < 1e-4


def test_names_of_the_hub_are_looked_up_in_the_cache(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    revision = "a" * 40
    folder = tmp_path / "models--org--name"
    (folder / "snapshots" / revision).mkdir(parents=True)
    (folder / "snapshots" / revision / "config.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(revision)
    monkeypatch.chdir(tmp_path)
    assert hub_folder("org/name").name == revision
    with pytest.raises(CheckpointError, match="nor in the cache of the Hugging Face hub") as info:
        hub_folder("org/other")
    assert "hf download org/other" in info.value.hint
    assert hub_folder("models/resnet.pt") is None
    assert hub_folder(str(tmp_path)) is None
