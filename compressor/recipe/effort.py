"""`--effort`: one knob for the time that a run takes, as the flags that it stands for."""

from collections.abc import Mapping
from typing import Any

EFFORTS: dict[str, dict[str, dict[str, Any]]] = {
    "fast": {
        "data": {"samples": 128},
        "measure": {"seconds": 1.0},
        "budget": {"time": "60s"},
    },
    "default": {},
    "best": {"measure": {"seconds": 12.0}},
}
"""Effort → what it stands for, where neither flags nor recipe say anything else.

fast     --samples 128 --measure-seconds 1, and --time-budget 60s within a quality budget
best     --measure-seconds 12
"""


def stands_for(effort: str | None, document: Mapping[str, Any]) -> dict[str, Any]:
    """What goes below a recipe document: without a quality budget no search has a time.

    Args:
        effort: One of `EFFORTS`; None for the default.
        document: All that is said otherwise.
    """
    budget = document.get("budget")
    searches = isinstance(budget, Mapping) and budget.get("max_drop") is not None
    sections = EFFORTS[effort or "default"]
    return {name: one for name, one in sections.items() if name != "budget" or searches}
