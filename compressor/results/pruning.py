"""The part of the report's schema that tells what was pruned and whether that was far enough."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from compressor.results.records import Record, StageRecord


class LayerVerdict(StrEnum):
    """What became of a layer that was to be repaired."""

    REPAIRED = "repaired"
    LEFT_ALONE = "left alone"
    SPARSE = "2:4 sparse"


class LayerRepair(Record):
    """The repair of one layer or norm.

    Attributes:
        verdict: What became of it.
        reason: Why nothing was fitted; or that it was, for the sake of the layer behind it.
        late: Whether there was no time left for it.
        error_before: Without the fit, relative to the variance, on samples it has not seen.
        error_after: With it.
        ridge: The ridge of the solve.
        bytes: Memory that it took.
        seconds: Time that it took.
        steps: By which it was fitted together with the layer behind it.
    """

    verdict: LayerVerdict
    reason: str | None = None
    late: bool = False
    error_before: float | None = None
    error_after: float | None = None
    ridge: float | None = None
    bytes: float | None = None
    seconds: float = 0.0
    steps: float | None = None

    @property
    def told(self) -> dict[str, Any]:
        """For the parameters of the stage's record."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"late"})


class RepairRecord(StageRecord):
    """What a repair did, with its layers as they are: the report has them among `parameters`."""

    layers: Mapping[str, LayerRepair] = Field(default_factory=dict, exclude=True)

    @property
    def told(self) -> StageRecord:
        """For the report."""
        return StageRecord.model_validate(self.model_dump())


class GoalResult(Record):
    """The outcome of a pruning goal, by the figures of the finished result.

    Attributes:
        asked: The flag with its value, as it was asked for.
        kind: What it is held in; says the unit of `wanted` and `measured`: the share of the
            multiply-accumulates or parameters that is gone (0 to 1), the ratio of the baseline's
            latency to the result's, milliseconds of one inference in the deciding configuration,
            or bytes of the artifact's file. For a threshold, `wanted` is that, and `measured` the
            share of the multiply-accumulates that is gone.
        wanted: What was asked for.
        measured: What the result has; None where the run was interrupted before.
        met: Whether it is reached; latencies and ratios of them to within a tenth.
        held_back: Whether the quality budget is why less was pruned.
        reason: Why it is met or not, in one sentence.
    """

    asked: str
    kind: Literal["macs", "params", "speedup", "latency", "size", "threshold"]
    wanted: float
    measured: float | None = None
    met: bool
    held_back: bool = False
    reason: str


class PrunedGroup(Record):
    """Channels, heads or hidden units that went together.

    Attributes:
        name: The node that makes them first.
        units_before: How many there were.
        units_after: How many stay; which ones is in the plan.
        weights: Initializers that shrank with the group.
        damage: Predicted: the sum of the scores of what went, by the method of
            `PruningResult.method`; None where a plan was replayed.
        error_before: Measured: the errors of the layers that read the group, added up, before
            they were repaired; None where none was fitted.
        error_after: Measured: those errors after the repair.
    """

    name: str
    units_before: int
    units_after: int
    weights: tuple[str, ...] = ()
    damage: float | None = None
    error_before: float | None = None
    error_after: float | None = None


class RepairedLayer(Record):
    """A layer that was fitted anew to what the original computes.

    Errors are of calibration samples that the solve has not seen: the energy of the difference
    from what the layer should compute, relative to the variance of that.

    Attributes:
        node: Its name in the float graph.
        repaired: Whether the fit was kept, because it lowered the error.
        error_before: Error without the repair; None where nothing was fitted.
        error_after: Error with the repair, kept or not.
        seconds: Time that it took.
        memory_bytes: Memory that it took.
        reason: Why nothing was fitted; or that it was, for the sake of the layer behind it.
    """

    node: str
    repaired: bool
    error_before: float | None = None
    error_after: float | None = None
    seconds: float | None = None
    memory_bytes: int | None = None
    reason: str | None = None


class PruningResult(Record):
    """The pruning of the graph that ships.

    Attributes:
        cost: What the allocation went by: multiply-accumulates, parameters, or latency of kernels
            timed on the target; None where a plan was replayed.
        share: Share of that cost which was removed, as predicted, 0 to 1.
        method: What told which units matter.
        blocks: Residual blocks that were removed whole, by their Add.
        groups: The groups in the order of the graph.
        layers: The layers in the order of the graph; empty without repair and where a plan was
            replayed.
        predicted_ms: Latency of one inference that the timed kernels add up to; None where the
            cost is no latency.
        measured_ms: Median latency in the deciding configuration.
    """

    cost: Literal["macs", "params", "latency"] | None = None
    share: float | None = None
    method: str | None = None
    blocks: tuple[str, ...] = ()
    groups: tuple[PrunedGroup, ...] = ()
    layers: tuple[RepairedLayer, ...] = ()
    predicted_ms: float | None = None
    measured_ms: float | None = None
