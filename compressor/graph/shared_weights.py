"""Weights that several models have in common, in one file that all of them read.

ONNX Runtime reads external data from the folder of the model or below it, and refuses `../`,
absolute paths and links that lead out of it (1.31: "External data path escapes model directory").
Hard links it reads, and `onnx` does not. So models that share lie in one folder with the file.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import onnx_ir as ir

from compressor.graph.files import load_model
from compressor.graph.notes import without_notes
from compressor.graph.tensor_bytes import each_block

DATA = "weights.data"
PAYS = 2**20
"""Bytes that models have in common from which they are written so."""
_INLINE = 2**10
"""Bytes up to which a tensor stays in its model."""
_ALIGNMENT = 64

_Digests = dict[str, bytes]
"""Initializer → what its bytes hash to."""


@dataclass(frozen=True)
class Sharing:
    """A model whose weights lie in a file of several.

    Attributes:
        model: Its file.
        data: The file of weights.
        bytes: What the two of it have: its file, and its part of the other.
    """

    model: Path
    data: Path
    bytes: int


def share_weights(models: Mapping[str, Path], folder: Path) -> dict[str, Sharing]:
    """Write models that have weights in common again, as `NAME.onnx` beside one `weights.data`.

    Equal bytes are stored once, whatever they are called. The files that they had go. Equal models
    give equal files.

    Args:
        models: Name → file.
        folder: Where they are written; the models lie below it.

    Returns:
        Those that have `PAYS` bytes or more in common with others; none where that is nothing.

    Raises:
        CheckpointError: A model cannot be read.
        OSError: A file cannot be written.
    """
    digests = {name: _digests(path) for name, path in models.items()}
    sharing = _which_share(digests)
    if not sharing:
        return {}
    data, places = folder / DATA, dict[bytes, int]()
    found: dict[str, Sharing] = {}
    with data.open("wb") as file:
        for name in sharing:
            model = load_model(models[name])
            apart = _moved(model, digests[name][1], file, places)
            path = folder / f"{name}.onnx"
            written = ir.to_proto(without_notes(model)).SerializeToString(deterministic=True)
            path.write_bytes(written)
            found[name] = Sharing(path, data, len(written) + apart)
    for name in sharing:
        _remove(models[name], folder)
    return found


def saved_bytes(found: Mapping[str, Sharing]) -> int:
    """Bytes that models would take more if each had its weights for itself."""
    if not found:
        return 0
    alone = sum(one.bytes - one.model.stat().st_size for one in found.values())
    data = next(iter(found.values())).data
    return alone - data.stat().st_size


def _digests(path: Path) -> tuple[dict[bytes, int], _Digests]:
    """Content → bytes, and initializer → content, of those that may lie in a file."""
    sizes, named = dict[bytes, int](), _Digests()
    for value, tensor in _large(load_model(path)):
        digest = hashlib.sha256()
        for block in each_block(tensor):
            digest.update(block)
        named[value.name or ""] = digest.digest()
        sizes[digest.digest()] = tensor.nbytes
    return sizes, named


def _which_share(digests: Mapping[str, tuple[dict[bytes, int], _Digests]]) -> list[str]:
    owners: defaultdict[bytes, int] = defaultdict(int)
    for sizes, _ in digests.values():
        for one in sizes:
            owners[one] += 1
    common = {
        name: sum(size for one, size in sizes.items() if owners[one] > 1)
        for name, (sizes, _) in digests.items()
    }
    return [name for name, size in common.items() if size >= PAYS]


def _moved(model: ir.Model, digests: _Digests, file: BinaryIO, places: dict[bytes, int]) -> int:
    """Let a model read its large tensors from the file, into which new ones are written.

    Returns:
        The bytes of its tensors there, each once.
    """
    sizes = dict[bytes, int]()
    for value, tensor in _large(model):
        digest = digests[value.name or ""]
        if digest not in places:
            file.write(b"\0" * (-file.tell() % _ALIGNMENT))
            places[digest] = file.tell()
            for block in each_block(tensor):
                file.write(block)
        sizes[digest] = tensor.nbytes
        value.const_value = ir.ExternalTensor(
            DATA, places[digest], tensor.nbytes, tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()), name=value.name or "", base_dir="",
        )  # fmt: skip
    return sum(sizes.values())


def _large(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Initializers that may lie in a file; a name is unique among those of the main graph."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and not tensor.dtype.is_string() and tensor.nbytes >= _INLINE:
            yield value, tensor


def _remove(model: Path, folder: Path) -> None:
    """A model and what lay beside it, and its own folder if that is empty then."""
    for path in model.parent.glob(f"{model.name}*"):
        path.unlink()
    if model.parent != folder and not any(model.parent.iterdir()):
        model.parent.rmdir()
