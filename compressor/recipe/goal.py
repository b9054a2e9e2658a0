"""How much is to be removed, in the user's own terms.

--prune 30%       of the multiply-accumulates; all shares may be written as 0.3, too
--params 50%      of the parameters
--speedup 1.5x    over the float baseline, measured on the target
--latency 4ms     of one inference in the deciding configuration, measured on the target
--size 5MB        of the artifact's file
--prune-threshold 0.05    times the norm of a group's largest unit: what is below goes
"""

import re
from dataclasses import dataclass
from typing import Literal

from pydantic import ByteSize, TypeAdapter, ValidationError

from compressor.errors import RecipeError

Kind = Literal["macs", "params", "speedup", "latency", "size", "threshold"]

FLAGS: dict[Kind, str] = {
    "macs": "--prune",
    "params": "--params",
    "speedup": "--speedup",
    "latency": "--latency",
    "size": "--size",
    "threshold": "--prune-threshold",
}

_NUMBER = r"(\d+\.?\d*|\.\d+)"
_SHARE = re.compile(rf"\s*{_NUMBER}\s*(%?)\s*")
_RATIO = re.compile(rf"\s*{_NUMBER}\s*[x×]?\s*", re.IGNORECASE)
_TIME = re.compile(rf"\s*{_NUMBER}\s*(us|µs|ms|s)\s*", re.IGNORECASE)
SLACK = 0.1
"""Share of what was asked by which a measured time may fall short of a goal and still meet it."""

NEAR = 1.2
"""Times the share asked for that may go, where smaller steps would do; then multiples give way."""
FAR = 1.5
"""Times the share asked for from which a goal is not met, as far too much went."""

_UNITS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Goal:
    """A goal of pruning.

    Attributes:
        kind: What it is held in.
        asked: The goal as the user wrote it.
        amount: Share to remove (0 to 1), ratio, seconds, bytes, or share of the largest norm.
        whole: The goal of all graphs together, as the user wrote it, where this is a part of it.
    """

    kind: Kind
    asked: str
    amount: float
    whole: str | None = None

    @property
    def flag(self) -> str:
        """The flag with its value; of a part, which nobody wrote so, what it is a part of."""
        if self.whole is not None:
            return _part_words(self.asked, FLAGS[self.kind], self.whole)
        return f"{FLAGS[self.kind]} {self.asked}"

    @property
    def measured(self) -> bool:
        """Whether the cost that the allocation goes by does not tell that it is reached."""
        return self.timed or self.kind == "size"

    @property
    def counted(self) -> bool:
        """Whether it is a share or a size, of which no more should go than was asked."""
        return self.kind in ("macs", "params", "size")

    @property
    def timed(self) -> bool:
        """Whether only a measurement on the target can tell that it is reached."""
        return self.kind in ("speedup", "latency")

    def is_met(self, reached: float) -> bool:
        """Whether so much of it is enough: 1 is exactly what was asked, more is further.

        Times are measured and vary, so that a tenth may be missing; bytes and counts are exact.
        """
        return reached >= (1 - SLACK if self.timed else 1.0)


class Part(str):
    """A graph's part of a goal of several, in the text of a recipe that is the graph's own.

    Attributes:
        whole: The goal of all of them, as the user wrote it.
    """

    whole: str | None = None

    @classmethod
    def of(cls, whole: str, text: str) -> "Part":
        """The part as text of the same kind."""
        part = cls(text)
        part.whole = whole
        return part


def time_words(text: str | None) -> str:
    """The time that a search may take; of a graph's part, what it is a part of."""
    whole = getattr(text, "whole", None)
    return str(text) if whole is None else _part_words(str(text), "--time-budget", whole)


def _part_words(text: str, flag: str, whole: str) -> str:
    return f"{text} (its part of {flag} {whole})"


def parse_goal(kind: Kind, text: str) -> Goal:
    """A goal of that kind.

    Raises:
        RecipeError: The text does not fit the kind, or asks for nothing or for everything.
    """
    amount = _PARSERS[kind](text)
    if amount is None:
        raise RecipeError(
            f"{FLAGS[kind]} {text!r} is not understood", hint=f"Write {_EXAMPLES[kind]}."
        )
    return Goal(kind, text.strip(), amount, getattr(text, "whole", None))


def share_of(text: str) -> float | None:
    """`30%` or `0.3` as 0.3; None where it is neither."""
    match = _SHARE.fullmatch(text)
    return None if match is None else float(match[1]) / (100 if match[2] else 1)


def ratio_of(text: str) -> float | None:
    """`1.5x` or `1.5` as 1.5; None where it is neither."""
    match = _RATIO.fullmatch(text)
    return None if match is None else float(match[1])


def _share(text: str) -> float | None:
    share = share_of(text)
    return share if share is not None and 0 < share < 1 else None


def _ratio(text: str) -> float | None:
    ratio = ratio_of(text)
    return ratio if ratio is not None and ratio > 1 else None


def _seconds(text: str) -> float | None:
    match = _TIME.fullmatch(text)
    seconds = 0.0 if match is None else float(match[1]) * _UNITS[match[2].lower()]
    return seconds or None


def _bytes(text: str) -> float | None:
    # Without a unit 5 would be bytes, where megabytes are meant.
    if not text.strip()[-1:].isalpha():
        return None
    try:
        found = TypeAdapter(ByteSize).validate_python(text.strip())
    except ValidationError:
        return None
    return float(found) or None


_PARSERS = {
    "macs": _share,
    "params": _share,
    "speedup": _ratio,
    "latency": _seconds,
    "size": _bytes,
    "threshold": _share,
}
_EXAMPLES: dict[Kind, str] = {
    "macs": "the share of multiply-accumulates to remove, above 0% and below 100%: 30% or 0.3",
    "params": "the share of parameters to remove, above 0% and below 100%: 50% or 0.5",
    "speedup": "how many times the speed of the float baseline, above 1x: 1.5x",
    "latency": "the time of one inference with its unit, above 0: 4ms",
    "size": "the size of the artifact's file with its unit, above 0: 5MB",
    "threshold": "the share of the largest norm of a group below which units go, above 0 and "
    "below 1: 0.05 or 5%",
}
