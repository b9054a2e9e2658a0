"""Limits on objectives, as users write them: `latency<=2ms`, `size<=5MB`, `quality<=1%`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ByteSize, TypeAdapter, ValidationError

from compressor.errors import RecipeError
from compressor.recipe.budget import parse_budget

OBJECTIVES = ("latency", "quality", "size", "memory")
KNEE = "knee"
_LIMIT = re.compile(r"\s*([a-z]+)\s*(<=|<|≤)\s*(.+?)\s*")
_TIME = re.compile(r"(\d+\.?\d*|\.\d+)\s*(ns|us|µs|ms|s)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Limit:
    """The most that an objective may be.

    Attributes:
        objective: One of `OBJECTIVES`; of quality it is the loss.
        text: What was written, after the sign.
        amount: Seconds or bytes; None for a loss, which depends on the original (`parse_budget`).
    """

    objective: str
    text: str
    amount: float | None

    def at_most(self, baseline: float, metric: str) -> float:
        """The limit in the units of the objective.

        Args:
            baseline: The original's quality, of which a loss may be a share.
            metric: Its name.
        """
        if self.amount is not None:
            return self.amount
        return parse_budget(self.text).allowed(baseline, metric)

    def __str__(self) -> str:
        return f"{self.objective}<={self.text}"


def parse_limits(text: str, flag: str) -> tuple[Limit, ...]:
    """Limits with commas between them.

    Raises:
        RecipeError: One is not understood.
    """
    return tuple(_parsed(part, flag) for part in text.split(","))


def parse_pick(text: str) -> tuple[Limit, ...]:
    """What `--pick` says: limits, or none of them for `knee`.

    Raises:
        RecipeError: It is neither.
    """
    return () if text.strip() == KNEE else parse_limits(text, "--pick")


def _parsed(text: str, flag: str) -> Limit:
    match = _LIMIT.fullmatch(text)
    if match is None or match[1] not in OBJECTIVES:
        knee = f", or {KNEE}" if flag == "--pick" else ""
        raise RecipeError(
            f"{flag} {text.strip()!r}: expected a limit on {', '.join(OBJECTIVES)}{knee}",
            hint='Write "latency<=2ms", "size<=5MB", "memory<=1GB" or "quality<=1%" (a loss).',
        )
    objective, amount = match[1], match[3]
    if objective == "quality":
        parse_budget(amount)
        return Limit(objective, amount, None)
    found = _seconds(amount) if objective == "latency" else _bytes(amount)
    if found is None:
        example = "2ms" if objective == "latency" else "5MB"
        raise RecipeError(
            f"{flag} {text.strip()!r}: {amount!r} is no {objective}",
            hint=f"Give it with its unit: {objective}<={example}.",
        )
    return Limit(objective, amount, found)


def _seconds(text: str) -> float | None:
    match = _TIME.fullmatch(text)
    return None if match is None else float(match[1]) * _SECONDS[match[2]]


def _bytes(text: str) -> float | None:
    if not text[-1:].isalpha():
        return None
    try:
        return float(TypeAdapter(ByteSize).validate_python(text)) or None
    except ValidationError:
        return None


def violations(
    limits: Sequence[Limit], values: Mapping[str, float], allowed: Mapping[Limit, float]
) -> dict[str, float]:
    """Limit → by what share it is exceeded; 0 or less where it holds, of what is known.

    Args:
        limits: All of them.
        values: Objective → value.
        allowed: Limit → the most, in the units of its objective.
    """
    return {
        str(limit): _over(values[limit.objective], allowed[limit])
        for limit in limits
        if limit.objective in values
    }


def _over(value: float, most: float) -> float:
    return (value - most) / most if most > 0 else value - most
