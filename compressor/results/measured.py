"""A result beside its baseline: what a run and a comparison of two models share."""

from compressor.results.measurements import (
    LatencyResult,
    MemoryResult,
    OutputResult,
    QualityResult,
    Size,
    UseResult,
)
from compressor.results.records import Record

UNCHANGED = "the graph was not changed"
"""Why the latency of a result that is its baseline was not measured."""


class Measured(Record):
    """A result beside its baseline: what a run and a comparison of two models share.

    Attributes:
        quality: The first is the one asked for; empty with `quality_reason` when not measured.
        latency: The deciding configuration is first; empty with `latency_reason` when not measured.
        outputs: Every output by itself, in the model's order; empty where quality is not measured.
        memory: Peak memory; None with `memory_reason` when not measured. Where only one could not
            be, its own `reason` says why.
        use: Of a decoder with a cache that grows the time of one use; None for all else.
    """

    latency: tuple[LatencyResult, ...] = ()
    latency_reason: str | None = None
    use: UseResult | None = None
    quality: tuple[QualityResult, ...] = ()
    quality_reason: str | None = None
    outputs: tuple[OutputResult, ...] = ()
    memory: MemoryResult | None = None
    memory_reason: str | None = None
    baseline_size: Size
    result_size: Size
