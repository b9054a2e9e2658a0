"""What a stage did, in a form that is reported and kept.

Everything measured or decided is a frozen pydantic model, so that the report is their
composition and `report.json` needs no translation.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """Base of everything that ends up in `report.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="strings")


class Interval(Record):
    """A two-sided confidence interval."""

    low: float
    high: float
    level: float = 0.95

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


class Decision(Record):
    """One thing a stage decided, and why: `subject` names the node, tensor or configuration."""

    subject: str
    verdict: str
    reason: str


class StageRecord(Record):
    """What one stage did.

    `changed` counts (rule or operator → how often); `seconds` is wall time.
    """

    name: str
    seconds: float
    parameters: dict[str, Any] = Field(default_factory=dict)
    changed: dict[str, int] = Field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    notices: tuple[str, ...] = ()


class Parity(Record):
    """The captured graph against its source on the same inputs, at one batch size.

    Attributes:
        batch: How many samples were run.
        output: The graph output that was compared.
        max_absolute: max |graph - source|.
        max_relative: max |graph - source| / max |source|: relative to the largest value, because
            a ratio per element says nothing where the source is near zero.
        tolerance: The largest `max_absolute` that is accepted.
    """

    batch: int
    output: str
    max_absolute: float
    max_relative: float
    tolerance: float
