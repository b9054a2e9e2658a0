"""Every kind of file, loaded; and what is unsafe or incomplete, refused."""

import argparse
import logging
import re
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from compressor.capture.source import ModelSource
from compressor.checkpoint import load_checkpoint, source_of
from compressor.checkpoint.exported import is_arithmetic
from compressor.errors import CheckpointError, UsageError
from compressor.recipe.loading import ModelOptions
from compressor.system.third_party_output import relayed

torch = pytest.importorskip("torch")
nn = torch.nn

FACTORY = """
import torch
from neighbour import WIDTH

class Net(torch.nn.Module):
    def __init__(self, outputs=2):
        super().__init__()
        self.line = torch.nn.Linear(WIDTH, outputs)

    def forward(self, x):
        return self.line(x)

def make(**options):
    return Net(**options)

def wrapped():
    return torch.nn.DataParallel(Net())

def failing():
    raise RuntimeError("no weights today")

instance = Net()
number = 3

def pair():
    return Net(), 1
"""


@pytest.fixture
def factory(tmp_path):
    (tmp_path / "neighbour.py").write_text("WIDTH = 3\n")
    path = tmp_path / "arch.py"
    path.write_text(FACTORY)
    yield str(path)
    sys.modules.pop("neighbour", None)


@pytest.fixture
def state():
    return {"line.weight": torch.ones(2, 3), "line.bias": torch.zeros(2)}


def _save(content, tmp_path, **options) -> Path:
    path = tmp_path / "model.anything"
    torch.save(content, path, **options)
    return path


def _load(path, **options) -> ModelSource:
    return load_checkpoint(path, ModelOptions(**options))


@pytest.mark.parametrize("legacy", [False, True])
def test_state_dicts_old_and_new(tmp_path, factory, state, legacy):
    path = _save({"state_dict": state}, tmp_path, _use_new_zipfile_serialization=not legacy)
    source = _load(path, factory=f"{factory}:make")
    assert (source.kind, source.path, source.description) == ("module", path, str(path))
    assert torch.equal(source.module.line.weight, state["line.weight"])
    assert not source.module.training
    path.unlink()  # the weights do not hang on the file
    assert source.module(torch.ones(1, 3)).tolist() == [[3, 3]]


def test_safetensors(tmp_path, factory, state):
    from safetensors.torch import save_file

    save_file({f"module.{key}": value for key, value in state.items()}, tmp_path / "model.bin")
    source = _load(tmp_path / "model.bin", factory=f"{factory}:make")
    assert torch.equal(source.module.line.weight, state["line.weight"])
    assert source.notices == ("prefix 'module.' stripped from the state dict's keys",)


@pytest.mark.parametrize("name", ["Net", "make", "wrapped", "instance"])
def test_factories_may_be_classes_functions_and_instances(tmp_path, factory, state, name):
    source = _load(_save(state, tmp_path), factory=f"{factory}:{name}")
    assert type(source.module).__name__ == "Net"


def test_factory_of_a_module_in_the_working_directory(tmp_path, factory, state, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = _load(_save(state, tmp_path), factory="arch:make")
    assert torch.equal(source.module.line.weight, state["line.weight"])
    sys.modules.pop("arch")


def test_factory_arguments(tmp_path, factory):
    state = {"line.weight": torch.ones(7, 3), "line.bias": torch.zeros(7)}
    source = _load(_save(state, tmp_path), factory=f"{factory}:make", args={"outputs": 7})
    assert source.module.line.out_features == 7


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("failing", {}, r"arch\.py:\d+: RuntimeError: no weights today"),
        ("pair", {}, "should return an nn.Module and returned a tuple"),
        ("number", {}, "expected a function or class, found a int"),
        ("Net", {"width": 4}, r"Net\(outputs=2\): got an unexpected keyword argument 'width'"),
        ("make", {"width": 4}, r"arch\.py:\d+: TypeError: .*unexpected keyword argument 'width'"),
        ("absent", {}, "has no 'absent'"),
        ("make", {"outputs": 5}, r"line\.bias: model float32\[5\], file float32\[2\]"),
    ],
)
def test_factories_that_do_not_fit(tmp_path, factory, state, name, args, said):
    with pytest.raises(CheckpointError, match=said):
        _load(_save(state, tmp_path), factory=f"{factory}:{name}", args=args)


def test_a_state_dict_alone_asks_for_the_factory(tmp_path, state):
    with pytest.raises(CheckpointError, match=r"2 entries: line.weight float32\[2,3\]") as info:
        _load(_save(state, tmp_path))
    assert "--model" in info.value.hint


class Marked(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 2)

    def forward(self, x):
        return self.line(x)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", [None, "model"])
def test_pickled_modules_need_trust(tmp_path, monkeypatch, legacy, wrapper):
    monkeypatch.setitem(sys.modules, Marked.__module__, sys.modules[__name__])
    module = Marked().train()
    content = module if wrapper is None else {wrapper: module, "epoch": 1}
    path = _save(content, tmp_path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match="runs whatever code the file contains") as info:
        _load(path)
    assert "--trust-pickle" in info.value.hint
    source = _load(path, trust_pickle=True)
    assert torch.equal(source.module.line.weight, module.line.weight)
    assert not source.module.training
    assert "trusted" in source.notices[0]


def test_pickled_modules_are_called_so(tmp_path):
    with pytest.raises(CheckpointError, match=r"a pickled nn.Module \(.*Linear"):
        _load(_save(nn.Sequential(nn.Linear(3, 2)), tmp_path))


@pytest.mark.parametrize("legacy", [False, True])
def test_what_trainers_write_beside_weights_needs_no_trust(tmp_path, factory, state, legacy):
    beside = {
        "args": argparse.Namespace(lr=0.1, output=Path("runs/1"), device=torch.device("cpu")),
        "best": np.float64(0.9),
        "epoch": np.int64(3),
        "means": np.arange(3.0),
        "names": np.array(["cat", None], object),
    }
    content = {"state_dict": state, **beside}
    path = _save(content, tmp_path, _use_new_zipfile_serialization=not legacy)
    source = _load(path, factory=f"{factory}:make")
    assert torch.equal(source.module.line.weight, state["line.weight"])


def test_code_in_a_checkpoint_does_not_run(tmp_path, factory, state):
    mark = tmp_path / "mark"
    path = _save({"state_dict": state, "args": Evil(mark)}, tmp_path)
    source = _load(path, factory=f"{factory}:make")
    assert torch.equal(source.module.line.weight, state["line.weight"])
    with pytest.raises(CheckpointError, match="pickled Python objects beside tensors"):
        _load(path)
    assert not mark.exists()


def test_trust_has_no_effect_on_what_needs_none(tmp_path, factory, state):
    source = _load(_save(state, tmp_path), factory=f"{factory}:make", trust_pickle=True)
    assert source.notices == ()


def test_a_class_that_cannot_be_imported(tmp_path):
    path = _save(nn.Linear(2, 2), tmp_path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert content
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data.replace(b"torch.nn.modules.linear\n", b"my_own_nets\n"))
    with pytest.raises(CheckpointError, match="my_own_nets") as info:
        _load(path, trust_pickle=True)
    assert "PYTHONPATH" in info.value.hint


def test_damaged_torch_files(tmp_path, state):
    path = _save(state, tmp_path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(CheckpointError, match="damaged"):
        _load(path)
    path = tmp_path / "empty.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", b"")
    with pytest.raises(CheckpointError, match="damaged"):
        _load(path)


def _archive(tmp_path, module=None) -> Path:
    path = tmp_path / "model.anything"
    batch = torch.export.Dim("batch")
    with relayed(logging.getLogger("test")), path.open("wb") as file:
        program = torch.export.export(
            (module or Marked()).eval(), (torch.ones(4, 3),), dynamic_shapes=({0: batch},)
        )
        torch.export.save(program, file)
    return path


def _edited(path: Path, edit) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    edit(members)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_exported_programs(tmp_path):
    source = _load(_archive(tmp_path), factory="unused.py:make")
    assert source.kind == "exported program"
    assert source.program.graph_signature.user_inputs == ("x",)
    assert "--model unused.py:make was not used" in source.notices[0]
    (said,) = _load(tmp_path / source.path.name, state_key="ema").notices
    assert "--state-key ema was not used: a file of kind 'exported program'" in said


def _evil_pickle(mark) -> bytes:
    path = mark.with_suffix(".tmp")
    torch.save((Evil(mark),), path)
    return path.read_bytes()


def _set_inputs(members, mark):
    name = next(name for name in members if name.endswith("sample_inputs/model.pt"))
    members[name] = _evil_pickle(mark)


def _set_weight(members, mark):
    config = next(name for name in members if name.endswith("model_weights_config.json"))
    members[config] = members[config].replace(b'"use_pickle": false', b'"use_pickle": true')
    weight = next(name for name in members if name.endswith("weights/weight_0"))
    members[weight] = _evil_pickle(mark)


def _set_symbol(members, mark):
    model = next(name for name in members if name.endswith("models/model.json"))
    code = f"__import__('pathlib').Path('{mark}').touch()".encode()
    members[model] = re.sub(rb'"expr_str": "[^"]+"', b'"expr_str": "' + code + b'"', members[model])


def _add_object(members, mark):
    folder = next(name for name in members if "/" in name).partition("/")[0]
    members[f"{folder}/data/constants/opaque_obj_0"] = _evil_pickle(mark)


@pytest.mark.parametrize("edit", [_set_inputs, _set_weight, _set_symbol, _add_object])
def test_code_in_an_exported_program_does_not_run(tmp_path, edit):
    mark = tmp_path / "mark"
    path = _edited(_archive(tmp_path), lambda members: edit(members, mark))
    with pytest.raises(CheckpointError, match="could run code from the file") as info:
        _load(path)
    assert not mark.exists()
    assert "--trust-pickle" in info.value.hint


def test_damaged_exported_programs(tmp_path):
    def break_it(members):
        model = next(name for name in members if name.endswith("models/model.json"))
        members[model] = members[model].replace(b'"graph_module"', b'"graph_odule"')

    with pytest.raises(CheckpointError, match="incompatible version of torch"):
        _load(_edited(_archive(tmp_path), break_it))
    path = _edited(_archive(tmp_path), lambda members: members.update({"m/models/x.json": b"{"}))
    with pytest.raises(CheckpointError, match="damaged"):
        _load(path)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Symbol('s31', positive=True, integer=True)", True),
        (
            "Add(Mul(Integer(-4), FloorDiv(Symbol('s0', integer=True), Integer(2))), Integer(4))",
            True,
        ),
        ("Mul(Float('1.5', precision=53), ToFloat(Symbol('s53')))", True),
        ("Piecewise((Integer(1), true), (s0, false))", True),
        ("Pow(Symbol('s77'), Integer(-2))", True),
        ("__import__('os').system('x')", False),
        ("exec(Symbol('x'))", False),
        ("Integer('__import__')", False),
        ("Symbol('x', f())", False),
        ("Symbol('x y()')", False),
        ("Symbol('x', integer=print())", False),
        ("Symbol.__class__", False),
        ("[c for c in ()]", False),
        ("__builtins__", False),
        ("Add(", False),
    ],
)
def test_only_arithmetic_is_safe(text, safe):
    assert is_arithmetic(text) == safe


def test_torchscript(tmp_path):
    path = tmp_path / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Marked()).save(str(path))
    source = _load(path)
    assert source.kind == "torchscript"
    assert not source.module.training
    _edited(path, lambda members: members.update({name: b"(" for name in members if ".py" in name}))
    with pytest.raises(CheckpointError, match="damaged"):
        _load(path)


def test_onnx_models_with_external_data_stay_in_their_folder(tiny_model, tmp_path):
    assert _load(tiny_model).kind == "onnx"
    folder = tmp_path / "inner"
    folder.mkdir()
    model = onnx.load(tiny_model)
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "../outside.bin")
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "outside.bin").write_bytes(bytes(10_000))
    with pytest.raises(CheckpointError, match="outside"):
        _load(folder / "model.onnx")


def test_torch_missing_names_the_extra(tmp_path, state, monkeypatch):
    path = _save(state, tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match="needs torch") as info:
        _load(path)
    assert f"{sys.executable} -m pip install 'torch>=" in info.value.hint


def test_live_objects(tiny_model):
    module = Marked()
    assert source_of(module).module is module
    assert source_of(nn.DataParallel(module)).module is module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert source_of(torch.compile(module, backend="eager")).module is module
        assert source_of(torch.jit.script(module)).kind == "torchscript"
    proto = onnx.load(tiny_model)
    assert source_of(proto).kind == "onnx"
    model = ir.from_proto(proto)
    assert source_of(model).model is model
    source = source_of(model)
    assert source_of(source) is source
    with pytest.raises(UsageError, match="found ndarray"):
        source_of(np.ones(3))


@pytest.mark.parametrize(
    ("found", "hint"),
    [
        ({"h": nn.Linear(2, 2)}, "pipeline="),
        (nn.Linear(2, 2).state_dict(), "Weights alone are no model"),
        ([nn.Linear(2, 2)], "pipeline="),
        (nn.Linear, "pass an instance"),
        (print, "forward of an nn.Module"),
    ],
)
def test_what_is_no_model_is_told_what_to_pass(found: object, hint: str):
    with pytest.raises(UsageError, match="expected a path") as caught:
        source_of(found)
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def _cut(source: Path, target: Path) -> Path:
    """An archive whose first storage has lost half of its bytes."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as other:
        for member in archive.infolist():
            content = archive.read(member)
            half = member.filename.endswith("data/0")
            other.writestr(member.filename, content[: len(content) // 2] if half else content)
    return target


def test_a_storage_that_is_shorter_than_it_claims_is_refused(tmp_path: Path):
    layer = torch.nn.Linear(30, 20)
    torch.save(layer.state_dict(), tmp_path / "state.pt")
    torch.save(layer, tmp_path / "whole.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(layer, torch.zeros(1, 30)).save(str(tmp_path / "script.pt"))
    for name in ("state.pt", "whole.pt", "script.pt"):
        path = _cut(tmp_path / name, tmp_path / f"cut-{name}")
        with pytest.raises(CheckpointError, match="claims 2,400 bytes, and the archive has 1,200"):
            load_checkpoint(path, ModelOptions(trust_pickle=True))
