"""The state of a training in a file, from which a run that was killed goes on."""

from pathlib import Path
from typing import Any

import torch


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state whole or not at all."""
    aside = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, aside)
    aside.replace(path)


def load_state(path: Path, digest: str) -> dict[str, Any] | None:
    """The state of the same training; None where there is none, or of another."""
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception:  # whatever a damaged file raises: the training begins anew
        return None
    return state if state.get("digest") == digest else None
