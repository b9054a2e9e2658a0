"""Weights by torchvision's own name for them: `ResNet50_Weights.IMAGENET1K_V2`.

The entry knows its architecture, how pictures are made for it, and what its classes are called. Its
file is taken from torch's cache; nothing is downloaded.
"""

import difflib
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from compressor.errors import CheckpointError

_ENTRY = re.compile(r"(torchvision\.models\.)?(?P<entry>\w+Weights\.[A-Z]\w*)")
_DIGEST = re.compile(r"-([0-9a-f]{8,})\.")
_WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


def entry_name(model: object) -> str | None:
    """The name of the entry that a string or torchvision's own object means; None for others.

    A path that exists is never one.
    """
    text = repr(model) if isinstance(model, Enum) else str(model)
    found = _ENTRY.fullmatch(text)
    return None if found is None or Path(text).exists() else found["entry"]


def entry_module(name: str) -> Any:
    """The module of an entry, with its weights.

    Args:
        name: As `entry_name` has it.

    Returns:
        A module in evaluation mode. Its `pretrained_cfg` says as one of timm does how pictures are
        made for it, and what its classes are called.

    Raises:
        CheckpointError: torchvision is missing or lacks the entry, or torch's cache lacks its file.
    """
    models = _torchvision(name)
    weights = _entry(models, name)
    _require_file(weights, name)
    built = (one for one in models.list_models() if type(weights) is models.get_model_weights(one))
    with _weights_only():
        try:
            module = models.get_model(next(built), weights=weights, progress=False)
        except Exception as error:  # of unpickling, of weights that do not fit
            raise CheckpointError(
                f"{name}: torchvision cannot load it: {error}",
                hint=f"Remove {_file(weights)}, and download it again.",
            ) from error
    module.eval()
    module.pretrained_cfg = _told(weights)
    return module


def _torchvision(name: str) -> Any:
    try:
        from torchvision import models  # noqa: PLC0415 - few have it
    except (ImportError, RuntimeError) as error:  # built for another torch: its operators lack
        raise CheckpointError(
            f"{name} names weights of torchvision, which cannot be imported: {error}",
            hint="pip install torchvision, of the version that belongs to this torch.",
        ) from error
    return models


def _entry(models: Any, name: str) -> Any:
    try:
        return models.get_weight(name)
    except (KeyError, ValueError) as error:
        known = [
            f"{kind.__name__}.{one}"
            for kind in {models.get_model_weights(model) for model in models.list_models()}
            for one in kind.__members__
        ]
        close = difflib.get_close_matches(name, sorted(known), n=3)
        raise CheckpointError(
            f"{name}: torchvision has no such weights",
            hint=f"Did you mean {' or '.join(close)}?" if close else
            "torchvision.models.list_models() and get_model_weights() tell what it has.",
        ) from error  # fmt: skip


def _file(weights: Any) -> Path:
    """Where torch keeps what it downloads."""
    from torch import hub  # noqa: PLC0415 - heavy

    return Path(hub.get_dir(), "checkpoints", Path(urlparse(weights.url).path).name)


def _require_file(weights: Any, name: str) -> None:
    file = _file(weights)
    get = f"python -c 'import torchvision.models as m; m.get_weight(\"{name}\").get_state_dict()'"
    if not file.is_file():
        raise CheckpointError(
            f"{name}: its weights are not in torch's cache, where they would be {file}",
            hint=f"Nothing is downloaded here. This gets them: {get}",
        )
    digest = _DIGEST.search(file.name)
    if digest is None:
        return
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if not found.startswith(digest[1]):
        raise CheckpointError(
            f"{file} is damaged: its SHA-256 begins with {found[: len(digest[1])]}, and its name "
            f"says {digest[1]}",
            hint=f"Remove it. This gets it again: {get}",
        )


@contextmanager
def _weights_only() -> Iterator[None]:
    """Nothing in a file of weights is run, whatever torchvision asks of torch."""
    before = os.environ.get(_WEIGHTS_ONLY)
    os.environ[_WEIGHTS_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_WEIGHTS_ONLY]
        else:
            os.environ[_WEIGHTS_ONLY] = before


def _told(weights: Any) -> dict[str, Any]:
    """What timm calls `pretrained_cfg`, of the preset that an entry has for its pictures."""
    preset = weights.transforms()
    found: dict[str, Any] = {"label_names": list(weights.meta.get("categories") or ())}
    for name in ("mean", "std"):
        if (values := getattr(preset, name, None)) is not None:
            found[name] = list(values)
    crop, resize = (getattr(preset, f"{kind}_size", None) for kind in ("crop", "resize"))
    if crop and resize and len(crop) == len(resize) == 1:
        found |= {"input_size": [3, crop[0], crop[0]], "crop_pct": crop[0] / resize[0]}
    way = getattr(preset, "interpolation", None)
    return found if way is None else found | {"interpolation": way.value}
