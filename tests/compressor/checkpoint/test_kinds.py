"""The kind of a file follows from its content, whatever it is called."""

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressor.checkpoint.kinds import find_kind
from compressor.errors import CheckpointError


def _write(folder: Path, content: bytes, name: str = "model.pt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def _zip(folder: Path, *members: str) -> Path:
    path = folder / "model.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, b"{}")
    return path


def _safetensors(payload: int = 12, claimed: int = 12) -> bytes:
    header = {"__metadata__": {"format": "pt"}, "w": {
        "dtype": "F32", "shape": [3], "data_offsets": [0, claimed]}}  # fmt: skip
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(payload)


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        (["m/data.pkl", "m/data/0", "m/version"], "torch archive"),
        (["m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"], "torchscript"),
        (
            ["m/archive_format", "m/models/model.json", "m/data/weights/weight_0"],
            "exported program",
        ),
        (["serialized_exported_program.json", "serialized_state_dict.pt"], "exported program"),
    ],
)
def test_archives_by_their_members(tmp_path, members, kind):
    assert find_kind(_zip(tmp_path, *members)) == kind


@pytest.mark.parametrize(
    ("members", "said"),
    [
        (["config.json", "model.weights.h5"], "Keras"),
        (["MAR-INF/MANIFEST.json"], "TorchServe"),
        (["m/archive_format", "m/data/aotinductor/model/x.so"], "AOTInductor"),
        (["p/.data/extern_modules", "p/model.py"], "torch.package"),
        (["notes.txt"], "without a model that is known here"),
    ],
)
def test_foreign_archives_are_named(tmp_path, members, said):
    with pytest.raises(CheckpointError, match=said):
        find_kind(_zip(tmp_path, *members))


def test_onnx_whatever_its_name(tiny_model, tmp_path):
    assert find_kind(tiny_model.rename(tmp_path / "model.pt")) == "onnx"


def test_safetensors_whatever_its_name(tmp_path):
    assert find_kind(_write(tmp_path, _safetensors(), "model.bin")) == "safetensors"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>Not Found</html>", "web page"),
        (b"<html><body>", "web page"),
        (b"\x89HDF\r\n\x1a\n....", "HDF5"),
        (b"GGUF\x03", "GGUF"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x1c\0\0\0ORTM", "ONNX Runtime format"),
        (gzip.compress(b"model", mtime=0), "gzip"),
        (b"\x80\x04\x95\0\0\0\0\0\0\0\0\x8c\x13joblib.numpy_pickle\x94", "written by joblib"),
        (b"\x08\x01\x12\x03abc", "TensorFlow SavedModel"),
        (b"hello, world", "unknown kind"),
        (_safetensors(payload=4), r"truncated safetensors file: expected \d+ bytes or more, found"),
        (_safetensors()[:40], "truncated safetensors"),
    ],
)
def test_other_files_are_named(tmp_path, content, said):
    path = _write(tmp_path, content)
    with pytest.raises(CheckpointError, match=said) as info:
        find_kind(path)
    assert str(path) in info.value.message


def test_truncated_files_say_so(tiny_model, tmp_path):
    content = tiny_model.read_bytes()
    with pytest.raises(CheckpointError, match=f"truncated ONNX .* found {len(content) - 9:,}"):
        find_kind(_write(tmp_path, content[:-9]))
    archive = _zip(tmp_path, "m/data.pkl").read_bytes()
    with pytest.raises(CheckpointError, match="truncated archive"):
        find_kind(_write(tmp_path, archive[:-30]))


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        find_kind(tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        find_kind(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(CheckpointError, match="is a folder") as info:
        find_kind(tmp_path)
    assert str(tmp_path / "model.safetensors") in info.value.hint
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(CheckpointError, match="TensorFlow SavedModel"):
        find_kind(tmp_path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    content=st.binary(max_size=80),
    start=st.sampled_from([b"", b"\x08\x09", b"PK\x03\x04", b"\x80\x02"]),
)
def test_no_content_leads_to_anything_but_a_checkpoint_error(tmp_path, content, start):
    try:
        kind = find_kind(_write(tmp_path, start + content))
    except CheckpointError:
        return
    assert kind in ("onnx", "safetensors", "legacy torch", "plain pickle", "numpy")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(cut=st.integers(1, 10_000))
def test_a_truncated_onnx_model_is_never_taken_for_a_whole_one(tmp_path, tiny_model, cut):
    content = tiny_model.read_bytes()
    path = _write(tmp_path, content[: max(len(content) - cut, 0)])
    try:
        kind = find_kind(path)
    except CheckpointError:
        return
    # Cut between two fields: what follows the graph may be missing.
    assert kind == "onnx"
    assert onnx.load(path).graph.node


def test_no_kind_needs_torch(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.ones(3))
    script = f"""
import sys
from pathlib import Path
from compressor.checkpoint.kinds import find_kind
from compressor.errors import CheckpointError
assert find_kind(Path({str(_zip(tmp_path, "m/data.pkl"))!r})) == "torch archive"
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_names_in_an_archive_that_are_no_text_are_damage(tmp_path: Path):
    path = _zip(tmp_path, "m/data.pkl")
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\x01\x02")
    content[entry + 8 : entry + 10] = (0x800).to_bytes(2, "little")  # names are UTF-8
    content[entry + 46] = 0xFF
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged archive"):
        find_kind(path)


@pytest.mark.parametrize("end", [None, "12", 1.5, [], {}])
def test_places_in_safetensors_that_are_no_numbers_are_none(tmp_path: Path, end: object):
    header = {"a": {"data_offsets": [0, end]}, "b": {"data_offsets": [0, 4]}}
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + bytes(8)
    with pytest.raises(CheckpointError, match="unknown kind"):
        find_kind(_write(tmp_path, content))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such pipes")
def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "model.onnx")
    with pytest.raises(CheckpointError, match="is a named pipe"):
        find_kind(tmp_path / "model.onnx")
