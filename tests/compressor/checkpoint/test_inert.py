"""Pickles of which only the weights are read: whatever lies beside them, and nothing of it runs."""

import argparse
import collections
import dataclasses
import datetime
import enum
import io
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from compressor.checkpoint import load_checkpoint
from compressor.checkpoint.inert import InertFile
from compressor.checkpoint.torch_files import unpickle
from compressor.errors import CheckpointError
from compressor.recipe.loading import ModelOptions

torch = pytest.importorskip("torch")
nn = torch.nn

STATE = {"weight": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), "bias": torch.ones(2)}
ARRAYS = {key: value.numpy() for key, value in STATE.items()}
FACTORY = "torch.nn:Linear"
OPTIONS = ModelOptions(factory=FACTORY, args={"in_features": 3, "out_features": 2})


class Settings(dict):
    pass


class Ordered(collections.OrderedDict):
    pass


class Layers(list):
    pass


class Average:
    def __init__(self, state):
        self.decay, self.shadow = 0.9, state


class Slotted:
    __slots__ = ("shadow",)

    def __init__(self, state):
        self.shadow = state


@dataclasses.dataclass
class Config:
    rate: float = 0.1


class Mode(enum.Enum):
    FAST = 1


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)
        self.register_buffer("passing", torch.ones(1), persistent=False)
        self.scale = 3.0


def _counts():
    counts = collections.defaultdict(list)
    counts["loss"].append(np.float32(0.5))
    return counts


OPTIMIZER = torch.optim.AdamW([nn.Parameter(torch.ones(2))])
TRAINER = {
    "epoch": 3,
    "pytorch-lightning_version": "2.4.0",
    "state_dict": {f"model.{key}": value for key, value in STATE.items()},
    "callbacks": {"ModelCheckpoint": {"best": Path("a.ckpt"), "score": torch.ones(())}},
    "optimizer_states": [OPTIMIZER.state_dict()],
    "hyper_parameters": Settings(rate=0.1, mode=Mode.FAST),
}
HELD = {
    "arrays": ARRAYS,
    "arrays below": {"state_dict": ARRAYS, "epoch": np.int64(3), "loss": np.float64(0.5)},
    "arrays and tensors": {**STATE, "bias": ARRAYS["bias"]},
    "other byte order": {key: value.astype(">f4") for key, value in ARRAYS.items()},
    "defaultdict": {"model": STATE, "history": _counts()},
    "state in a defaultdict": collections.defaultdict(None, STATE),
    "arguments": {"model": STATE, "args": argparse.Namespace(out=Path("runs"), lr=0.1)},
    "ordered": Ordered(STATE),
    "settings": Settings(model=STATE, config=Settings(depth=2)),
    "dataclass and enumeration": {"model": STATE, "config": Config(), Mode.FAST: 1},
    "average": {"ema": Average(STATE)},
    "slots": {"ema": Slotted(STATE)},
    "list": {"nets": Layers([STATE])},
    "tuple": (STATE, {"epoch": 1}),
    "trainer": TRAINER,
    "optimizer": {"model": STATE, "optimizer": OPTIMIZER},
    "generator": {"model": STATE, "rng": np.random.default_rng(0), "old": np.random.get_state()},
    "times": {"model": STATE, "at": datetime.datetime(2024, 1, 1), "of": frozenset({1})},
    "module": {"net": nn.Linear(3, 2)},
    "class": {"model": STATE, "made by": nn.Linear, "act": nn.ReLU()},
}
HELD["module"]["net"].load_state_dict(STATE)


@pytest.fixture(autouse=True)
def here(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__, sys.modules["__main__"]))


@pytest.mark.parametrize("form", ["archive", "legacy", "pickle"])
@pytest.mark.parametrize("held", list(HELD))
def test_weights_are_read_whatever_lies_beside_them(tmp_path, held, form):
    path = tmp_path / "model.anything"
    if form == "pickle":
        path.write_bytes(pickle.dumps(HELD[held], protocol=2 if len(held) % 2 else 4))
    else:
        torch.save(HELD[held], path, _use_new_zipfile_serialization=form == "archive")
    module = load_checkpoint(path, OPTIONS).module
    assert torch.equal(module.weight, STATE["weight"]) and torch.equal(module.bias, STATE["bias"])


def test_a_module_is_read_for_its_weights_alone(tmp_path):
    module = nn.Sequential(Line(), nn.BatchNorm1d(2))
    torch.save(module, tmp_path / "m.pt")
    read = unpickle(tmp_path / "m.pt", trust=False, kind="torch archive")
    assert not read.trusted and read.content.keys() == module.state_dict().keys()
    assert f"{__name__}.Line" in read.unknown


def test_a_module_of_before_its_classes_changed(tmp_path):
    torch.save(
        nn.Sequential(nn.Linear(3, 2)), tmp_path / "m.pt", _use_new_zipfile_serialization=False
    )
    content = (tmp_path / "m.pt").read_bytes()
    older = content.replace(b"Applies an affine", b"Applied an affine")  # sources lie in the file
    assert older != content
    (tmp_path / "m.pt").write_bytes(older)
    read = unpickle(tmp_path / "m.pt", trust=False, kind="legacy torch")
    assert read.content.keys() == {"0.weight", "0.bias"}


def test_what_was_not_run_is_said(tmp_path):
    torch.save({"model": STATE, "config": Config(), "at": Path("a")}, tmp_path / "m.pt")
    (notice,) = load_checkpoint(tmp_path / "m.pt", OPTIONS).notices
    assert notice.startswith("only weights were read") and notice.endswith(f": {__name__}.Config")


def test_a_class_that_is_not_there_is_named_and_where_it_is_looked_for(tmp_path, monkeypatch):
    torch.save(Line(), tmp_path / "m.pt")
    monkeypatch.delattr(sys.modules[__name__], "Line")
    with pytest.raises(CheckpointError, match=r"Line is looked for in the module .*which has none"):
        load_checkpoint(tmp_path / "m.pt", ModelOptions(trust_pickle=True))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("prefix", ["", "net/"])
def test_archives_of_numpy(tmp_path, save, prefix):
    save(tmp_path / "w.npz", **{prefix + key: value for key, value in ARRAYS.items()})
    module = load_checkpoint(tmp_path / "w.npz", OPTIONS).module
    assert torch.equal(module.weight, STATE["weight"])


def test_a_dictionary_in_an_array(tmp_path):
    np.save(tmp_path / "w.npy", ARRAYS, allow_pickle=True)
    assert torch.equal(load_checkpoint(tmp_path / "w.npy", OPTIONS).module.weight, STATE["weight"])


def test_arrays_without_a_factory_are_data_or_weights(tmp_path):
    np.savez(tmp_path / "w.npz", **ARRAYS)
    with pytest.raises(CheckpointError, match="data, or weights") as info:
        load_checkpoint(tmp_path / "w.npz", ModelOptions())
    assert "--calib" in info.value.hint and "--model" in info.value.hint


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args):
        self.made = function, args

    def __reduce__(self):
        return self.made


class Change:
    """Gives an attribute to what a name stands for."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return self.target, (), {"changed": True}


def _wrapped(evil) -> bytes:
    """As a storage in a pickle that torch did not write."""
    return pickle.dumps(Call(torch.storage._load_from_bytes, pickle.dumps(evil, protocol=2)))


def _build_on_a_class() -> bytes:
    # GLOBAL collections OrderedDict, a dictionary, BUILD: a state for the class itself.
    return b"\x80\x02ctorch\nTensor\n}X\x07\x00\x00\x00changedK\x01sb."


@pytest.mark.parametrize("file", ["pickle", "archive", "legacy", "npy", "npz"])
def test_no_code_of_a_file_runs(tmp_path, file):
    mark, path = tmp_path / "mark", tmp_path / "model.anything"
    held = {**ARRAYS, "evil": Call(os.mkdir, str(mark)), "too": Call(eval, f"open({str(mark)!r})")}
    if file == "pickle":
        path.write_bytes(pickle.dumps(held))
    elif file in ("archive", "legacy"):
        torch.save(held, path, _use_new_zipfile_serialization=file == "archive")
    else:
        with path.open("wb") as opened:
            array = np.array(held, dtype=object)
            np.save(opened, array) if file == "npy" else np.savez(opened, held=array)
    load_checkpoint(path, OPTIONS)
    assert not mark.exists()


@pytest.mark.parametrize("content", [_wrapped(Call(os.mkdir, "mark")), _build_on_a_class()])
def test_what_is_ours_is_never_lent_to_a_file(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError):
        InertFile().load(io.BytesIO(content))
    assert not Path("mark").exists() and not hasattr(torch.Tensor, "changed")


@pytest.mark.parametrize("cut", [10, 100, 300])
def test_damaged_pickles(tmp_path, cut):
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps({"state": ARRAYS, "config": Config()})[:cut])
    with pytest.raises(CheckpointError, match=r"damaged|runs whatever"):
        load_checkpoint(path, OPTIONS)
