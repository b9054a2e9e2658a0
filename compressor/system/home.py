"""The home folder, which a process of a service or a container may not have."""

from pathlib import Path


def home() -> Path | None:
    """The home folder; None where neither HOME nor the system's users tell one."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def expanded(name: str | Path) -> Path:
    """A path with `~` spelt out; as it is where there is no such home."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
