"""`org/name` of the Hugging Face hub: the folder in the local cache. Nothing is downloaded."""

import re
from pathlib import Path

from compressor.errors import CheckpointError

_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")


def located(model: object) -> object:
    """The model; of a name on the Hugging Face hub its folder in the local cache.

    Raises:
        CheckpointError: It reads as such a name, and the cache does not hold it.
    """
    found = hub_folder(model) if isinstance(model, str) else None
    return model if found is None else found


def hub_folder(name: str) -> Path | None:
    """The snapshot that `org/name` or `org/name@revision` means.

    Args:
        name: What the user gave for a model.

    Returns:
        None where it is no such name, or a path that exists.

    Raises:
        CheckpointError: It reads as one, is no path, and the cache does not hold it.
    """
    path = Path(name)
    if path.exists() or not _ID.fullmatch(name) or _reads_as_path(name):
        return None
    repo, _, revision = name.partition("@")
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise CheckpointError(
            f"{name}: there is no such file or folder, and names of the Hugging Face hub need the "
            "package huggingface_hub, which is not installed",
            hint="pip install 'compressor[hf]', or name a folder.",
        ) from error
    try:
        found = snapshot_download(repo, revision=revision or None, local_files_only=True)
    except Exception as error:  # its own classes, which differ by version
        raise CheckpointError(
            f"{name} is neither a file, nor a folder, nor in the cache of the Hugging Face hub",
            hint=f"Nothing is downloaded here: `hf download {repo}` gets it, and "
            f"`hf download {repo} --local-dir {repo.rpartition('/')[2]}` into a folder.",
        ) from error
    return Path(found)


def _reads_as_path(name: str) -> bool:
    """A mistyped path is one where its folder is there, or its ending is that of a file."""
    path = Path(name)
    endings = (".pt", ".pth", ".onnx", ".bin", ".ckpt", ".npz", ".safetensors", ".pkl", ".pickle")
    return path.parent.is_dir() or path.suffix.lower() in endings
