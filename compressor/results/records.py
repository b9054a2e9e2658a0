"""What a stage did, in a form that is reported and kept.

Everything measured or decided is a frozen pydantic model, so that the report is their
composition and `report.json` needs no translation.
"""

from typing import Any, Literal

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
    """A decision of a stage, and why: `subject` names the node, tensor or configuration."""

    subject: str
    verdict: str
    reason: str


class Effect(Record):
    """The effect of a stage on one amount of the graph.

    Attributes:
        amount: Nodes of the graph, bytes of its weights, or milliseconds of one inference in the
            deciding configuration.
        before: The amount that the stage found; None where there was no graph before.
        after: The amount that the stage left, whether or not that was kept.
    """

    amount: Literal["nodes", "weight_bytes", "latency_ms"]
    before: float | None = None
    after: float


class StageRecord(Record):
    """The record of one stage.

    `changed` counts (rule or operator → how often); `seconds` is wall time; `effects` are the
    amounts that the stage measured.
    """

    name: str
    seconds: float
    parameters: dict[str, Any] = Field(default_factory=dict)
    changed: dict[str, int] = Field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()
    notices: tuple[str, ...] = ()
    effects: tuple[Effect, ...] = ()

    @property
    def is_told(self) -> bool:
        """Whether there is more to it than its time and its effects."""
        return bool(self.parameters or self.changed or self.decisions or self.notices)


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
