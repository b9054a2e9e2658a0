"""How much quality may be lost, and for how long to search: parsed from what the user writes.

    1%       relative: one hundredth of the baseline's value
    0.5pt    absolute: in the metric's own unit, so points of a percentage, dB of a psnr

A loss is a change for the worse, whatever the metric's direction: a fall where higher is better,
a rise where lower is.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator

from compressor.errors import RecipeError
from compressor.recipe.section import Section

_AMOUNT = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(%|pt|pts|point|points)\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*(s|m|min|h)?\s*", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """The loss that is allowed.

    Attributes:
        asked: The budget as the user wrote it.
        amount: The loss in percent of the baseline's value, or in the metric's unit.
        relative: Which of the two.
    """

    asked: str
    amount: float
    relative: bool

    def allowed(self, baseline: float, metric: str) -> float:
        """The allowed loss in the metric's unit: amount / 100 · |baseline|, or the amount.

        Fidelity metrics score the original against itself: a cosine of 1 makes 1 % a loss of
        0.01.

        Raises:
            RecipeError: The baseline's value is infinite, or zero where the budget is relative.
        """
        if not math.isfinite(baseline):
            raise RecipeError(
                f"a budget on {metric} cannot be held: the original's value is {baseline}",
                hint="Choose --metric cosine, whose value is finite without error, or give labels.",
            )
        if not self.relative:
            return self.amount
        if baseline == 0:
            raise RecipeError(
                f"{self.asked} of the original's {metric} allows nothing: it is 0",
                hint="Give the budget in the metric's unit, such as --max-drop 0.5pt.",
            )
        return self.amount / 100 * abs(baseline)

    def require_hold(self, metric: str, *, higher_is_better: bool) -> None:
        """Refuse a share of the original's value that lets all of it go.

        What is better when lower may double: 100 % of a perplexity means something.

        Raises:
            RecipeError: 100 % or more of a metric that is better when higher.
        """
        if self.relative and self.amount >= 100 and higher_is_better:
            raise RecipeError(
                f"the budget of {self.asked} holds nothing: a result with none of the original's "
                f"{metric} would keep it",
                hint="Give what may be lost, such as --max-drop 1%, or leave it out to search "
                "without a budget.",
            )

    def takes_all(self, baseline: float) -> bool:
        """Whether an amount in the unit of a metric is all that the original has of it."""
        return not self.relative and 0 < baseline <= self.amount


def parse_budget(text: str) -> Budget:
    """`1%` or `0.5pt`.

    Raises:
        RecipeError: It is neither; a bare number would leave open which of the two is meant.
    """
    match = _AMOUNT.fullmatch(text)
    if match is None and _AMOUNT.fullmatch(text.strip().removeprefix("-")):
        raise RecipeError(
            f"the budget {text!r} is below zero: it is how much may be lost",
            hint="Write 1% (of the original's value) or 0.5pt (in the metric's unit).",
        )
    if match is None:
        raise RecipeError(
            f"the budget {text!r} is not understood",
            hint="Write 1% (of the original's value) or 0.5pt (in the metric's unit).",
        )
    return Budget(text.strip(), float(match[1]), match[2] == "%")


def parse_duration(text: str) -> float:
    """Seconds of `90`, `90s`, `10m` or `1.5h`.

    Raises:
        RecipeError: It is none of them, or zero.
    """
    match = _DURATION.fullmatch(text)
    seconds = 0.0 if match is None else float(match[1]) * _SECONDS[(match[2] or "s").lower()]
    if seconds == 0:
        raise RecipeError(f"the time {text!r} is not understood", hint="Write 90s, 10m or 1.5h.")
    return seconds


class BudgetOptions(Section):
    """How much quality may be lost, in the metric of [measure]."""

    max_drop: str | None = Field(
        None, description="1% of the original's value, or 0.5pt: in the metric's unit or points."
    )
    accept: Literal["bound", "point"] = Field(
        "bound", description="bound: a 95 % bound must hold it; point: the measured value."
    )
    time: str | None = Field(
        None, description="Search for at most so long, 90s, 10m or 1.5h; then the best so far."
    )

    @property
    def allowed(self) -> Budget | None:
        """The budget, if there is one."""
        return None if self.max_drop is None else parse_budget(self.max_drop)

    @property
    def seconds(self) -> float | None:
        """The time for the search, if it is limited."""
        return None if self.time is None else parse_duration(self.time)

    @field_validator("max_drop")
    @classmethod
    def _is_a_budget(cls, text: str | None) -> str | None:
        if text is not None:
            parse_budget(text)
        return text

    @field_validator("time")
    @classmethod
    def _is_a_duration(cls, text: str | None) -> str | None:
        if text is not None:
            parse_duration(text)
        return text
