"""What each region of a graph costs in each precision, and which it got."""

from typing import Literal

from compressor.results.records import Record

RegionPrecision = Literal["float", "static INT8", "dynamic INT8", "FP8"]


class RegionChoice(Record):
    """A precision that a region can have.

    Attributes:
        precision: The precision.
        ms: Time of one inference in it, where its neighbours are in the same; None where times
            were not measured.
        noise: Σ (y - y_q)² / Σ y² at the outputs of the graph with nothing else quantized; None
            where it was not measured or was not finite.
    """

    precision: RegionPrecision
    ms: float | None = None
    noise: float | None = None


class RegionResult(Record):
    """A weighted node, or a few neighbours, with what follows up to the next.

    Attributes:
        nodes: The weighted ones.
        operators: Their operators.
        chosen: The precision that it got.
        choices: The precisions that it could have had.
    """

    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    chosen: RegionPrecision
    choices: tuple[RegionChoice, ...]


class FrontierPoint(Record):
    """A choice for all regions that is the fastest for its damage, as predicted, not measured.

    Attributes:
        chosen: RegionPrecision → weighted nodes that have it.
        noise: Sum of the damages of single regions.
        ms: Time of one inference.
        ratio: Speed-up over float.
    """

    chosen: dict[RegionPrecision, int]
    noise: float
    ms: float
    ratio: float


class Sensitivity(Record):
    """The result of `compress sensitivity`.

    Attributes:
        source: What the model came from.
        samples: Held-out samples whose outputs were compared.
        batch: Batch size of the times.
        threads: Threads of the times.
        float_ms: Time of one inference in float, from its regions.
        regions: The regions in graph order; chosen is the fastest.
        frontier: The Pareto frontier of damage and time, by rising damage.
    """

    source: str
    samples: int
    batch: int
    threads: int
    float_ms: float
    regions: tuple[RegionResult, ...]
    frontier: tuple[FrontierPoint, ...]
