"""When a result is ruined: so far from the original that no speed makes up for it.

These floors are no budget: between what a budget of quality would accept and these lies much that a
user may or may not want. Below them the result no longer does what the original did.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from compressor.results.measurements import OutputResult, QualityResult

DEPARTURE: Final = {
    "cosine": 0.99,
    "r2": 0.95,
    "residual": 0.95,
    "agreement": 95.0,
    "detection": 90.0,
}
"""Scores against the original below which a user should look twice, by metric."""
FLOORS: Final = {
    "cosine": 0.8,
    "r2": 0.5,
    "residual": 0.7,
    "sqnr": 3.0,
    "agreement": 50.0,
    "detection": 50.0,
}
"""Scores against the original below which the result is ruined."""
CONTINUED: Final = {"agreement": 10.0}
"""The same of what goes on by itself, as texts do: from the first other token on it is another
text, by a model that may be as good. Only what has next to nothing in common is ruined."""
KEPT: Final = 0.75
"""Share of the original's score on labels, where more is better, below which it is ruined."""
GROWN: Final = 2.0
"""Times the original's score on labels, where less is better, above which it is ruined."""


def departs(metric: str, value: float) -> bool:
    """Whether a score against the original asks for a second look."""
    return value < DEPARTURE.get(metric, float("-inf"))


def why_ruined(
    quality: Sequence[QualityResult],
    outputs: Sequence[OutputResult] = (),
    continued: Collection[str] = (),
) -> str | None:
    """Why a result is ruined, in words; None where it is not, or where that was not measured.

    Args:
        quality: The metric that decides comes first.
        outputs: Every output; those that are no states count.
        continued: Outputs that go on by themselves.
    """
    if quality and (found := _of_metric(quality[0], continued)) is not None:
        return found
    for one in outputs:
        floor = _floors(one.name, continued).get(one.metric or "", float("-inf"))
        if one.role == "output" and one.value is not None and one.value < floor:
            return f"{one.metric} of output {one.name!r} is {_said(one.value, one.unit)}"
    return None


def _floors(output: str | None, continued: Collection[str]) -> Mapping[str, float]:
    return CONTINUED if output in continued else FLOORS


def _of_metric(quality: QualityResult, continued: Collection[str]) -> str | None:
    value, before = quality.result, quality.baseline
    if value is None:
        lost = quality.metric == "cosine" and before is not None
        return "the result's outputs hold NaN or infinity" if lost else None
    told = f"{quality.metric} is {_said(value, quality.unit)}"
    if quality.reference == "original":
        floor = _floors(quality.output, continued).get(quality.metric)
        return told if floor is not None and value < floor else None
    if before is None or before <= 0:
        return None
    lost = value < KEPT * before if quality.higher_is_better else value > GROWN * before
    return f"{told} where the original's is {_said(before, quality.unit)}" if lost else None


def _said(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".rstrip()
