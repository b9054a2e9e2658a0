"""What a model file is, told from its content and never from its name. No torch is needed.

Everything is decided from the first bytes, the table of a zip archive, or the outermost fields
of a protobuf message; weights are not read.
"""

import json
import zipfile
from collections.abc import Iterator
from operator import index
from pathlib import Path
from typing import BinaryIO, Literal

from compressor.errors import CheckpointError
from compressor.system.archives import DAMAGE, why_a_bomb
from compressor.system.nearby import did_you_mean
from compressor.system.special import why_no_file

FileKind = Literal[
    "onnx",
    "exported program",
    "torchscript",
    "torch archive",
    "legacy torch",
    "safetensors",
    "plain pickle",
    "numpy",
]

_LEGACY_TORCH = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickled number that opens files of `torch.save` before version 1.6."""

_EXPECTED = (
    "expected a torch.export or TorchScript archive, a state dict, safetensors or an ONNX model"
)

_FOREIGN: tuple[tuple[int, bytes, str, str | None], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the model", "Run `git lfs pull`."),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them", None),
    (0, b"GGUF", "a GGUF file of llama.cpp", None),
    (0, b"\x1f\x8b", "compressed by gzip", "Decompress it first."),
    (0, b"7z\xbc\xaf\x27\x1c", "compressed by 7-Zip", "Decompress it first."),
    (0, b"\xfd7zXZ\x00", "compressed by xz", "Decompress it first."),
    (0, b"\x28\xb5\x2f\xfd", "compressed by zstd", "Decompress it first."),
    (0, b"ftrt", "a TensorRT engine, which is already compiled", None),
    (0, b"ptrt", "a TensorRT engine, which is already compiled", None),
    (4, b"TFL3", "a TensorFlow Lite model", None),
    (4, b"ORTM", "an ONNX Runtime format model", "Use the ONNX model that it was made from."),
    (257, b"ustar", "a tar archive", "Unpack it first."),
)
"""Offset, magic bytes, what that is, what to do."""

_MODEL_PROTO = {1: 0, 5: 0} | dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), 2)
"""Fields of ONNX's ModelProto and their wire types; 7 is the graph."""


def find_kind(path: Path) -> FileKind:
    """Tell what a model file is.

    Raises:
        CheckpointError: There is no such file, it cannot be read, is truncated, or is of a kind
            that is not supported; the message says which, where the content tells.
    """
    if path.is_dir():
        raise directory_error(path)
    if (special := why_no_file(path)) is not None:
        raise CheckpointError(f"{path} is {special}; {_EXPECTED}", hint="Write it to a file first.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _of_content(path, file, size)
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: there is no such file or folder", hint=_absent(path)
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error


def _of_content(path: Path, file: BinaryIO, size: int) -> FileKind:
    head = file.read(512)
    if not head:
        raise CheckpointError(f"{path} is empty", hint="Copy or download it again.")
    if head.startswith(b"PK\x03\x04"):
        return _of_zip(path)
    if head[:1] == b"\x80" and _LEGACY_TORCH in head[:32]:
        return "legacy torch"
    if _is_safetensors(path, head, file, size):
        return "safetensors"
    for offset, magic, what, hint in _FOREIGN:
        if head[offset:].startswith(magic):
            raise CheckpointError(f"{path} is {what}; {_EXPECTED}", hint=hint)
    if head.lstrip()[:15].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise CheckpointError(
            f"{path} is a web page, not a model: the download did not get the file",
            hint="Open it in a text editor to see what the server answered.",
        )
    if head.startswith(b"\x93NUMPY"):
        return "numpy"
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05":
        return _of_pickle(path, head)
    if _is_onnx(path, file, size):
        return "onnx"
    raise CheckpointError(f"{path} is of an unknown kind; {_EXPECTED}")


def _of_pickle(path: Path, head: bytes) -> FileKind:
    if b"joblib.numpy_pickle" in head:
        raise CheckpointError(
            f"{path} was written by joblib, whose arrays lie between its pickles; {_EXPECTED}",
            hint="Load it with joblib and save the weights with torch.save or numpy.savez.",
        )
    return "plain pickle"


def directory_error(path: Path) -> CheckpointError:
    """What to say of a folder where a model's file is wanted."""
    if (path / "saved_model.pb").exists():
        return CheckpointError(f"{path} is a TensorFlow SavedModel; {_EXPECTED}")
    files = (
        file.name
        for pattern in ("*.onnx", "*.safetensors", "*.pt*", "*.bin")
        for file in sorted(path.glob(pattern))
    )
    first = next(files, None)
    hint = "Name the model's file; a Hugging Face folder has config.json and model.safetensors."
    made = sorted(path.glob("*/model.onnx")) if (path / "manifest.json").exists() else []
    if made:
        hint = f"It is a result of several graphs: name one, {made[0]}, or their loop: --pipeline."
    elif first is not None:
        hint = f"Name the model in it: {path / first}."
    return CheckpointError(f"{path} is a folder; {_EXPECTED}", hint=hint)


def _absent(path: Path) -> str | None:
    hint = did_you_mean(path)
    if hint is None and len(path.parts) == 2 and not path.parent.exists():
        hint = "A model of the Hugging Face hub has to be downloaded first; name its folder."
    return hint


def _of_zip(path: Path) -> FileKind:
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is a truncated archive: its table of contents, which comes last, is missing",
            hint="Copy or download it again.",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            # Torch puts everything into one folder, named as the file once was.
            names = {name.partition("/")[2] or name for name in archive.namelist()}
            bomb = why_a_bomb(archive)
    except DAMAGE as error:
        raise CheckpointError(f"{path} is a damaged archive: {error}") from error
    if bomb is not None:
        raise CheckpointError(
            f"{path} is an archive that unpacks to far more than weights do: {bomb}",
            hint="Only if you trust where it comes from, unpack it and save it uncompressed.",
        )
    return _of_members(path, names)


def _of_members(path: Path, names: set[str]) -> FileKind:
    if "serialized_exported_program.json" in names or (
        "archive_format" in names and any(_within(name, "models") for name in names)
    ):
        return "exported program"
    if "constants.pkl" in names and any(_within(name, "code") for name in names):
        return "torchscript"
    if "data.pkl" in names:
        return "torch archive"
    if names and all(name.endswith(".npy") for name in names):
        return "numpy"
    what = "a zip archive without a model that is known here"
    if any(_within(name, "data/aotinductor") for name in names):
        what = "a package of compiled code (AOTInductor), which holds no graph"
    elif ".data/extern_modules" in names or "extern_modules" in names:
        what = "a torch.package archive, which holds code"
    elif any(name.endswith(".weights.h5") for name in names):
        what = "a Keras model"
    elif any(_within(name, "MAR-INF") or name == "MANIFEST.json" for name in names):
        what = "a TorchServe archive"
    raise CheckpointError(f"{path} is {what}; {_EXPECTED}")


def _within(name: str, folder: str) -> bool:
    return name.startswith(f"{folder}/")


def _is_safetensors(path: Path, head: bytes, file: BinaryIO, size: int) -> bool:
    # Eight bytes of length, then that much JSON, then the tensors.
    if len(head) < 10 or head[8:9] != b"{":
        return False
    length = int.from_bytes(head[:8], "little")
    if length > 100_000_000:  # the format's own limit
        return False
    file.seek(8)
    header = file.read(length)
    if len(header) < length:
        raise _truncated(path, "safetensors", 8 + length, size)
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name[:2] != "__"]
        expected = 8 + length + max(map(index, ends), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
    if size < expected:
        raise _truncated(path, "safetensors", expected, size)
    return True


def _is_onnx(path: Path, file: BinaryIO, size: int) -> bool:
    fields = set[int]()
    for field, wire, end in _fields(file, size):
        if _MODEL_PROTO.get(field) != wire:
            return False
        if end > size:
            if 1 in fields:  # an ONNX model opens with its version, so this was one
                raise _truncated(path, "ONNX", end, size)
            return False
        fields.add(field)
    if fields and fields <= {1, 2}:
        raise CheckpointError(
            f"{path} is a protobuf message without an ONNX graph, as a TensorFlow SavedModel is; "
            f"{_EXPECTED}"
        )
    return 7 in fields


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int]]:
    """Number, wire type and end offset of a message's outermost fields; (0, 0, 0) for garbage."""
    position = 0
    while position < size:
        file.seek(position)
        buffer = file.read(20)
        key, used = _varint(buffer, 0)
        field, wire = key >> 3, key & 7
        if used == 0 or wire not in (0, 2):
            yield 0, 0, 0
            return
        value, used = _varint(buffer, used)
        if used == 0:
            yield field, wire, size + 1
            return
        position += used + (value if wire == 2 else 0)
        yield field, wire, position


def _varint(buffer: bytes, start: int) -> tuple[int, int]:
    """A base-128 integer and the offset behind it; offset 0 when it does not end."""
    value = 0
    for count, byte in enumerate(buffer[start : start + 10]):
        value |= (byte & 0x7F) << (7 * count)
        if not byte & 0x80:
            return value, start + count + 1
    return 0, 0


def _truncated(path: Path, what: str, expected: int, size: int) -> CheckpointError:
    return CheckpointError(
        f"{path} is a truncated {what} file: expected {expected:,} bytes or more, found {size:,}",
        hint="Copy or download it again.",
    )
