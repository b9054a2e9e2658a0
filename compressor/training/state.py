"""The state of a training in a file, from which a run that was killed goes on."""

from pathlib import Path
from typing import Any

import torch

from compressor.errors import OutputError
from compressor.system.writable import why_not_writable

HELD = frozenset({"digest", "steps", "done", "weights", "best_weights", "optimizer", "schedule"})
"""What every state of ours holds."""


def require_ours(path: Path) -> None:
    """Refuse a file that is somebody else's: it would be written over, and deleted at the end.

    Raises:
        OutputError: There is something that is no state of a training, or it cannot be written.
    """
    hint = "Name a file that does not exist yet, or the state of a training."
    if path.exists() and _read(path) is None:
        what = "a folder" if path.is_dir() else "no state of a training"
        raise OutputError(f"[train] checkpoint: {path} is {what}, and stays as it is", hint=hint)
    reason = why_not_writable(path.parent)
    if reason is not None:
        raise OutputError(f"[train] checkpoint: {path} cannot be written: {reason}", hint=hint)


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, aside)
    aside.replace(path)


def load_state(path: Path, digest: str) -> dict[str, Any] | None:
    """The state of the same training; None where there is none, or of another."""
    state = _read(path)
    return state if state is not None and state["digest"] == digest else None


def _read(path: Path) -> dict[str, Any] | None:
    """A state of any training; None where the file is something else, damaged or not there."""
    if not path.is_file():
        return None
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # whatever a file that is none raises
        return None
    return found if isinstance(found, dict) and found.keys() >= HELD else None
