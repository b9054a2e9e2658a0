"""Folders of Hugging Face, indices and shards: all is read, lazily, or what lacks is named."""

import json
import shutil

import pytest

from compressor.checkpoint import load_checkpoint
from compressor.checkpoint.hub import find_weights
from compressor.checkpoint.kinds import find_kind
from compressor.checkpoint.stored import in_chunks, tensors_of
from compressor.errors import CheckpointError
from compressor.recipe.loading import ModelOptions

torch = pytest.importorskip("torch")
save_file = pytest.importorskip("safetensors.torch").save_file
nn = torch.nn

FACTORY = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))
"""
INDEX = "model.safetensors.index.json"
SHARD = "model-0000{}-of-00002.safetensors"


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "arch.py"
    path.write_text(FACTORY)
    return f"{path}:build"


@pytest.fixture
def state():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).state_dict()


def _shard(folder, state, *, indexed=True, pickled=False):
    """Two shards of a state dict, and their index."""
    folder.mkdir()
    halves = [{k: v for k, v in state.items() if k[0] == str(i)} for i in (0, 1)]
    for number, half in enumerate(halves, 1):
        name = folder / SHARD.format(number)
        torch.save(half, name) if pickled else save_file(half, name)
    if indexed:
        names = {key: SHARD.format(n) for n, half in enumerate(halves, 1) for key in half}
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))
    return folder


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("named", ["", INDEX, SHARD.format(1), SHARD.format(2)])
def test_a_folder_its_index_and_each_shard_mean_all_of_it(tmp_path, factory, state, named, pickled):
    path = _shard(tmp_path / "hub", state, pickled=pickled) / named
    source = load_checkpoint(path, ModelOptions(factory=factory))
    for key, value in source.module.state_dict().items():
        assert torch.equal(value, state[key])
    assert (source.path, source.description) == (path, str(path))
    assert any("all 2 shards" in notice for notice in source.notices) == (named[-4:] == "sors")


def test_shards_without_an_index_are_counted_by_their_names(tmp_path, factory, state):
    folder = _shard(tmp_path / "hub", state, indexed=False)
    for path in (folder, folder / SHARD.format(2)):
        source = load_checkpoint(path, ModelOptions(factory=factory))
        assert torch.equal(source.module[1].weight, state["1.weight"])
    (folder / SHARD.format(1)).unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 shards are missing: .*00001-of-00002"):
        find_weights(folder / SHARD.format(2))


def test_a_missing_shard_is_named(tmp_path, factory, state):
    folder = _shard(tmp_path / "hub", state)
    (folder / SHARD.format(2)).unlink()
    for name in ("", INDEX, SHARD.format(1), SHARD.format(2)):
        with pytest.raises(CheckpointError, match=r"1 of 2 shards are missing: .*00002-of-00002"):
            load_checkpoint(folder / name, ModelOptions(factory=factory))


def test_damaged_shards_and_indices_are_named(tmp_path, factory, state):
    folder = _shard(tmp_path / "hub", state)
    shard = folder / SHARD.format(2)
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"00002-of-00002\.safetensors is a truncated"):
        load_checkpoint(folder, ModelOptions(factory=factory))
    for text, said in [
        ("{", "is not JSON"),
        ('{"weight_map": 3}', "expected an object of names and files"),
        ('{"weight_map": {"a": "../b.bin"}}', "lies outside of its folder"),
        ('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}', "do not hold: a"),
        ('{"architectures": []}', "describes a model and holds no weights"),
    ]:
        (folder / INDEX).write_text(text)
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint(folder / INDEX, ModelOptions(factory=factory))


def test_a_folder_of_the_hub_cache(tmp_path, factory, state):
    snapshot = tmp_path / "models--org--name" / "snapshots" / "0" / ""
    snapshot.parent.mkdir(parents=True)
    _shard(snapshot, state)
    (tmp_path / "models--org--name" / "refs").mkdir()
    (tmp_path / "models--org--name" / "refs" / "main").write_text("0\n")
    source = load_checkpoint(tmp_path / "models--org--name", ModelOptions(factory=factory))
    assert torch.equal(source.module[1].weight, state["1.weight"])


def test_without_a_factory_or_an_architecture_what_to_give_is_said(tmp_path, state):
    folder = _shard(tmp_path / "hub", state)
    with pytest.raises(CheckpointError, match="without an architecture") as info:
        load_checkpoint(folder, ModelOptions())
    assert "--model file.py:factory" in info.value.hint
    for config, said, hint in [
        ({}, "names no 'architectures'", "--model"),
        ({"architecture": "resnet18"}, "names no 'architectures'", "timm.create_model('resnet18')"),
        ({"_class_name": "UNet2DModel"}, "names no 'architectures'", "a UNet2DModel"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantized already", "made from"),
        ({"quantization_config": ["gptq"]}, "quantized already", "made from"),
        (
            {"architectures": ["BertModel"], "num_hidden_layers": 10**7},
            "num_hidden_layers 10,000,000",
            "again",
        ),
    ]:
        (folder / "config.json").write_text(json.dumps(config))
        with pytest.raises(CheckpointError, match=said) as info:
            load_checkpoint(folder, ModelOptions())
        assert hint in info.value.hint


def test_folders_that_are_no_model_say_what_they_are(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"has a config\.json, and no weights"):
        find_weights(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is an adapter") as info:
        find_weights(tmp_path)
    assert "merge_and_unload" in info.value.hint
    (tmp_path / "adapter_config.json").rename(tmp_path / "model_index.json")
    with pytest.raises(CheckpointError, match="a pipeline of several models"):
        find_weights(tmp_path)


def test_what_does_not_exist_is_looked_for_nearby(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "resnet.pt").touch()
    for wrong in ("models/resnet.pth", "modles/resnet.pt"):
        with pytest.raises(CheckpointError, match="there is no such file") as info:
            find_kind(tmp_path / wrong)
        assert info.value.hint == f"Did you mean {tmp_path / 'models/resnet.pt'}?"
    with pytest.raises(CheckpointError) as info:
        find_kind(tmp_path / "unlike")
    assert info.value.hint is None


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A small network of transformers whose head is tied to its embedding."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=32, n_positions=8, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("gpt2")
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    return folder, model


def test_the_architecture_of_a_folder(pretrained, capfd):
    folder, model = pretrained
    tokens = torch.arange(6).reshape(2, 3)
    for path in (folder, folder / "model.safetensors"):
        source = load_checkpoint(path, ModelOptions())
        assert torch.equal(source.module(tokens)["logits"], model(tokens).logits)
        assert not source.module.config.use_cache
        assert "GPT2LMHeadModel of transformers" in source.notices[0]
        assert "use_cache" in source.notices[-1]
    assert capfd.readouterr() == ("", "")


def test_weights_that_an_architecture_misses_are_an_error(pretrained, tmp_path):
    folder = shutil.copytree(pretrained[0], tmp_path / "gpt2")
    config = json.loads((folder / "config.json").read_text())
    for change, said in [
        ({"n_layer": 2}, r"weights of GPT2LMHeadModel are missing \(12\)"),
        ({"architectures": ["OwnModel"]}, "names the architecture 'OwnModel'"),
        ({"architectures": ["pipeline"]}, "names the architecture 'pipeline'"),
        ({"n_embd": "wide"}, "cannot load GPT2LMHeadModel"),
    ]:
        (folder / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(CheckpointError, match=said):
            load_checkpoint(folder, ModelOptions())


def test_tensors_are_read_in_chunks_of_bounded_size(monkeypatch):
    monkeypatch.setattr("compressor.checkpoint.stored.CHUNK_BYTES", 100)
    opened = []

    def file():
        opened.append(1)
        return {name: torch.ones(10) for name in "abcde"}

    state = tensors_of(file)
    assert [list(part) for part in in_chunks({**state, "z": 1})] == [
        ["z"],
        ["a", "b"],
        ["c", "d"],
        ["e"],
    ]
    assert len(opened) == 4
