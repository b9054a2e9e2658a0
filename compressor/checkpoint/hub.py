"""Folders of Hugging Face, and weights that lie in several files.

A folder holds `config.json` and either one file of weights or shards with an index:

    model.safetensors                      or pytorch_model.bin
    model.safetensors.index.json           {"weight_map": {name: file}}
    model-00001-of-00003.safetensors       ...

A path to the folder, to the index, or to one of the shards means all of it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calibration.encoders.model_folder import CONFIG, snapshot_of
from compressor.errors import CheckpointError
from compressor.system.inside import file_inside

NAMES = (
    "model.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
)
"""Names of the file of weights, in the order of looking for them; each may have an index."""

INDEX = ".index.json"
_SHARD = re.compile(r"(?P<stem>.+)-(?P<index>\d{5})-of-(?P<count>\d{5})(?P<ending>\.\w+)")


@dataclass(frozen=True)
class WeightFiles:
    """Where the weights lie that a path means.

    Attributes:
        files: The one file, or all shards.
        names: Name → file, as an index has it; None without one.
        folder: The Hugging Face folder that these weights are of: it holds a `config.json`.
        notices: What the user should know.
    """

    files: tuple[Path, ...]
    names: Mapping[str, Path] | None = None
    folder: Path | None = None
    notices: tuple[str, ...] = ()


def find_weights(path: Path) -> WeightFiles | None:
    """The weights that a folder, an index or a shard means; None for any other path.

    Raises:
        CheckpointError: Shards are missing, the index is damaged, or a folder is of a kind that
            cannot stand for itself; the message names the files.
    """
    if path.is_dir():
        return _of_folder(snapshot_of(path))
    if path.name.endswith(".json"):
        return _of_json(path)
    index = _index_beside(path)
    if index is not None:
        found = _of_index(index)
        said = f"all {len(found.files)} shards that {index.name} lists were read, not {path} alone"
        return WeightFiles(found.files, found.names, found.folder, (said,))
    if (shard := _SHARD.fullmatch(path.name)) and path.is_file():
        return _of_shards(path, shard)
    if path.name in NAMES and path.is_file():
        return WeightFiles((path,), folder=_configured(path.parent))
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a folder.

    Raises:
        CheckpointError: It is not JSON, or not an object.
    """
    return _object(folder / CONFIG)


def _of_folder(folder: Path) -> WeightFiles | None:
    for name in NAMES:
        if (folder / name).is_file():
            return WeightFiles((folder / name,), folder=_configured(folder))
        if (folder / (name + INDEX)).is_file():
            return _of_index(folder / (name + INDEX))
    if (folder / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{folder} is an adapter (LoRA), not a model: changes to the weights of another one",
            hint="Merge them: save what peft's `merge_and_unload()` returns with save_pretrained.",
        )
    if (folder / "model_index.json").is_file():
        parts = sorted(str(found.parent) for found in folder.glob(f"*/{CONFIG}"))
        raise CheckpointError(
            f"{folder} is a pipeline of several models",
            hint=f"Name one of them: {', '.join(parts)}." if parts else None,
        )
    first = next((path for path in sorted(folder.glob("*")) if _SHARD.fullmatch(path.name)), None)
    if first is not None:
        return find_weights(first)
    if (folder / CONFIG).is_file() and not any(_models(folder)):
        raise CheckpointError(
            f"{folder} has a {CONFIG}, and no weights: expected {' or '.join(NAMES[:2])}, or an "
            f"{INDEX[1:]} of shards",
            hint="Copy or download it again; files of Git LFS come by `git lfs pull`.",
        )
    return None


def _models(folder: Path) -> list[Path]:
    patterns = ("*.onnx", "*.safetensors", "*.pt*", "*.bin", "saved_model.pb")
    return [path for pattern in patterns for path in folder.glob(pattern)]


def _of_json(path: Path) -> WeightFiles | None:
    if not path.is_file():
        return None
    document = _object(path)
    if "weight_map" in document:
        return _of_index(path)
    hint = None
    if any(
        (path.parent / name).exists() or (path.parent / (name + INDEX)).exists() for name in NAMES
    ):
        hint = f"Name the folder, whose weights lie beside it: {path.parent}."
    raise CheckpointError(f"{path} describes a model and holds no weights", hint=hint)


def _index_beside(path: Path) -> Path | None:
    """The index that lists a file, whether the file is there or not."""
    if _SHARD.fullmatch(path.name) is None or not path.parent.is_dir():
        return None
    for index in sorted(path.parent.glob(f"*{INDEX}")):
        if path.name in _weight_map(index).values():
            return index
    return None


def _of_index(index: Path) -> WeightFiles:
    names = {}
    for name, file in _weight_map(index).items():
        place = file_inside(index.parent, file)
        if place is None:
            raise CheckpointError(
                f"{index} lists {file!r}, which lies outside of its folder",
                hint="Put the file into the folder (a copy, not a link), and list its name alone.",
            )
        names[name] = place
    files = tuple(sorted(set(names.values())))
    _require_all(index, files)
    return WeightFiles(files, names, _configured(index.parent))


def _of_shards(path: Path, found: re.Match[str]) -> WeightFiles:
    """Shards without an index: their names say how many there are."""
    count = int(found["count"])
    files = tuple(
        path.with_name(f"{found['stem']}-{number:05}-of-{found['count']}{found['ending']}")
        for number in range(1, count + 1)
    )
    _require_all(path, files)
    said = f"all {count} shards were read, not {path} alone"
    return WeightFiles(files, folder=_configured(path.parent), notices=(said,))


def _require_all(what: Path, files: tuple[Path, ...]) -> None:
    missing = [file for file in files if not file.is_file()]
    if missing:
        shown = ", ".join(str(file) for file in missing[:4]) + (", ..." if missing[4:] else "")
        raise CheckpointError(
            f"{what}: {len(missing)} of {len(files)} shards are missing: {shown}",
            hint="Copy or download them into the same folder.",
        )


def _weight_map(index: Path) -> dict[str, str]:
    found = _object(index).get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise CheckpointError(
            f"{index} is damaged: expected an object of names and files under 'weight_map'",
            hint="Copy or download it again.",
        )
    return found


def _object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not JSON: {error}", hint="Copy or download it again."
        ) from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{path}: expected a JSON object, found a {type(document).__name__}")
    return document


def _configured(folder: Path) -> Path | None:
    return folder if (folder / CONFIG).is_file() else None
