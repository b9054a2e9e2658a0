"""`--effort`: one knob for the time that a run takes, as the flags that it stands for."""

from typing import Any

EFFORTS: dict[str, dict[tuple[str, str], Any]] = {
    "fast": {
        ("data", "samples"): 128,
        ("measure", "seconds"): 1.0,
        ("budget", "time"): "60s",
    },
    "default": {},
    "best": {("measure", "seconds"): 12.0},
}
"""Effort → section and key of the recipe → value, where nothing else is said.

fast     --samples 128 --measure-seconds 1 --time-budget 60s
best     --measure-seconds 12
"""


def with_effort(document: dict[str, Any], effort: str | None) -> dict[str, Any]:
    """A recipe document with what an effort stands for, below what it says itself."""
    for (section, key), value in EFFORTS[effort or "default"].items():
        document.setdefault(section, {}).setdefault(key, value)
    return document
