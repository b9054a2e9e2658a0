"""What measurements say. What was not measured is None, with a reason beside it."""

import math
from typing import Literal

from pydantic import Field

from compressor.results.records import Interval, Record

Verdict = Literal["faster", "slower", "no significant difference", "undecided"]

TOO_BUSY = "the machine was too busy"
"""How the reason begins where only that kept a latency from being measured."""

WAITS = 2.0
"""Times the CPU time from which the time that passed is told beside it."""

Method = Literal["wall time", "cpu time"]
"""What passes, or what the calling thread was on a processor."""


Phase = Literal["decode", "prefill"]
"""What a decoder with a cache that grows is timed at: one token behind it, or a whole prompt."""


class LatencyConfig(Record):
    """The configuration of a latency: `batch` samples per inference on `threads` threads (0: all).

    `sizes` are the other sizes that the model leaves open, as `sequence 64, past 0`; `phase` is
    what a decoder with a cache that grows does at them.
    """

    batch: int
    threads: int
    sizes: str = ""
    phase: Phase | None = None


class Timing(Record):
    """Latency of one inference of a batch, in milliseconds.

    `trace` holds at most 200 evenly picked single latencies, in order, for the distribution plot.

    Attributes:
        median_ms: The median of samples that nothing disturbed; of CPU time, where there were too
            few of them, the 25th percentile.
        p95_ms: The 95th percentile of the same samples.
        method: What it is of: CPU time where the machine was too busy for any other.
        wall_ms: Where it is of CPU time, what passed meanwhile: the 25th percentile likewise, with
            what it waited and what others took.
    """

    median_ms: float
    p95_ms: float
    trace: tuple[float, ...] = ()
    method: Method = "wall time"
    wall_ms: float | None = None

    @property
    def waits(self) -> bool:
        """Whether so much more passed than was computed that the CPU time alone misleads."""
        return self.wall_ms is not None and self.wall_ms >= WAITS * self.median_ms


class Conditions(Record):
    """The machine's other load while a latency was measured.

    Attributes:
        busy: Whether others disturbed most of what was measured, or had a part of the core.
        foreign: The share of the available processors that others took, 0 to 1; None where the
            system does not tell.
        clean: The share of samples that kept the processor, of the model that kept it less; where
            wall time counts, of rounds in which others took less than a tenth.
        stolen: The share that the host of a virtual machine took; None where unknown.
        throttled_seconds: How long a quota held this process back; None where there is none.
        slowness: Factor by which the core was slower in the rounds that count than this process had
            seen it; 1 where enough of them had all of it, or it does not matter.
    """

    busy: bool
    foreign: float | None = None
    clean: float | None = None
    stolen: float | None = None
    throttled_seconds: float | None = None
    slowness: float | None = None

    @property
    def leeway(self) -> float:
        """Factor by which a ratio may be larger or smaller on a core that nobody else has part of.

        The root of the slowness: ResNet-20 had ratios of 1.98 and 1.63 at a slowness of 1.55.
        """
        return math.sqrt(self.slowness or 1.0)


class LatencyResult(Record):
    """Baseline and result, timed in turn in one process.

    `ratio` is the median over rounds of baseline / result: above 1 the result is faster.
    `interval` is its 95 % interval (`pairing`); `verdict` follows from whether it holds 1, and how
    far it reaches. Where the machine was too busy they are None, with the `reason`.

    Attributes:
        sessions: How many fresh pairs of sessions the rounds were taken of.
        method: What the ratio is of.
        conditions: What else the machine did; None in reports that do not tell.
    """

    config: LatencyConfig
    deciding: bool
    rounds: int
    baseline: Timing | None
    result: Timing | None
    ratio: float | None
    interval: Interval | None
    verdict: Verdict
    sessions: int = 1
    method: Method = "wall time"
    conditions: Conditions | None = None
    reason: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is a ratio."""
        return self.ratio is not None

    @property
    def speed(self) -> float:
        """The ratio, of one that is known."""
        assert self.ratio is not None, "decisions rest on known ratios"
        return self.ratio

    @property
    def ends(self) -> Interval:
        """Its interval, likewise."""
        assert self.interval is not None, "decisions rest on known ratios"
        return self.interval

    @property
    def milliseconds(self) -> tuple[float, float]:
        """Median latencies of baseline and result, likewise."""
        assert self.baseline is not None, "decisions rest on known ratios"
        assert self.result is not None, "decisions rest on known ratios"
        return self.baseline.median_ms, self.result.median_ms


class UseResult(Record):
    """One use of a decoder, from the times of both phases: reading a prompt, and writing after it.

    Attributes:
        prompt: Tokens that are read, in one call.
        new: Tokens that are written, one a call.
        baseline_ms: What that takes the baseline.
        result_ms: What it takes the result.
        ratio: baseline / result.
        interval: From the intervals of both phases, as if they erred alike.
        phases: Phase → its ratio.
    """

    prompt: int
    new: int
    baseline_ms: float
    result_ms: float
    ratio: float
    interval: Interval
    phases: dict[Phase, float]

    @property
    def verdict(self) -> Verdict:
        """Whether the interval leaves out 1."""
        if self.interval.low > 1:
            return "faster"
        return "slower" if self.interval.high < 1 else "no significant difference"


class MemoryResult(Record):
    """Peak resident memory, in bytes, of a child process that loads a model and runs it.

    Attributes:
        baseline_bytes: The baseline's peak; None with `reason`.
        result_bytes: The result's peak; None with `reason`.
        processes: How many there were of each: 1, and more in reports of earlier versions.
        ratio: Baseline / result.
        interval: Interval of the ratio over several pairs; None of one.
    """

    baseline_bytes: int | None
    result_bytes: int | None
    processes: int = 1
    ratio: float | None = None
    interval: Interval | None = None
    reason: str | None = None


class QualityResult(Record):
    """A metric of the original and of the result on the same samples.

    Attributes:
        reference: "labels" when scored against the data's labels, "original" when scored
            against the outputs of the original model.
        output: The output that it is of; None where the metric looks at all of them.
        difference: result - baseline, in the metric's unit.
        interval: Interval of the difference, paired over samples.
        samples: How many there were.
        data: Which data they came from, in words ("evaluation data", "calibration samples not
            used to calibrate").
        settings: What the metric was taken with, in words: attacks and their radius.
    """

    metric: str
    unit: str
    higher_is_better: bool
    reference: Literal["labels", "original"]
    baseline: float | None
    result: float | None
    difference: float | None
    interval: Interval | None
    samples: int
    data: str
    reason: str | None = None
    output: str | None = None
    settings: str | None = None


class OutputResult(Record):
    """An output of the result against the original's, on the samples that judged.

    Attributes:
        name: The output, as the original calls it.
        role: "primary" where it decides, "state" where it carries an input on, such as a cache.
        metric: cosine, r2 where it has few values a sample or hardly varies, mse where it is one
            probability that hardly varies, agreement where it holds decisions.
        value: Figure against the original; 1, or 100 %, is the same, of mse 0. None with `reason`.
        departs: Whether it is far from the original's.
    """

    name: str
    role: Literal["primary", "output", "state"]
    metric: str | None = None
    unit: str = ""
    value: float | None = None
    departs: bool = False
    reason: str | None = None


class ChangedSample(Record):
    """A sample on which the result differs from the original.

    Attributes:
        index: Its place in the source of the data that judged, counted from 0.
        before: The class that the original decides on; -1 where its scores hold NaN. None where
            the outputs are no decisions.
        after: The result's, likewise.
        label: The class it is, where the data tells.
        margin: The original's score of `before` less its score of `after`.
        error: Where the outputs are no decisions, sqrt(Σ (original - result)² / Σ original²).
        text: What it says, where the data tells, else the beginning of its token ids.
        image: A PNG of it in a data URI.
    """

    index: int
    before: int | None = None
    after: int | None = None
    label: int | None = None
    margin: float | None = None
    error: float | None = None
    text: str | None = None
    image: str | None = Field(None, pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$")


class Size(Record):
    """The size of a model. MACs are for one sample, None with a reason where not countable."""

    file_bytes: int
    parameters: int
    macs: int | None
    macs_reason: str | None = None


Bound = Literal["compute", "memory", "overhead"]


class Ceilings(Record):
    """The machine's ceilings with so many threads, measured when the profile was taken.

    Attributes:
        float_gflops: Floating-point operations of a float MatMul, 10⁹ per second; a
            multiply-accumulate is two.
        int8_gops: Integer operations of an 8-bit MatMul, likewise.
        memory_gbs: 10⁹ bytes read and written per second by a tensor that no cache holds.
        cache_gbs: 10⁹ bytes per second for a tensor of `cache_bytes`, which stays near the cores.
        cache_bytes: Up to this many bytes a node's traffic is held against `cache_gbs`.
        overhead_us: Microseconds of a node that does next to nothing.
        profiler_us: Microseconds that the runtime's profiler reports for the same node; what is
            above `overhead_us` is the profiler's own cost and is taken off every node.
    """

    threads: int
    float_gflops: float
    int8_gops: float
    memory_gbs: float
    cache_gbs: float
    cache_bytes: int
    overhead_us: float
    profiler_us: float


class NodeProfile(Record):
    """A node of the graph that the runtime really executes.

    Attributes:
        ms: Time of one inference, without the profiler's own cost.
        share: Share of the time of all nodes.
        macs: Multiply-accumulates; None where they cannot be told.
        bytes: Read and written; None where shapes are not known.
        bound: Which ceiling is the lowest for it; None where `macs` or `bytes` is.
        attained: The time that this ceiling allows over the time taken; 1 is the ceiling.
    """

    name: str
    operator: str
    ms: float
    share: float
    macs: int | None
    bytes: int | None
    bound: Bound | None
    attained: float | None


class OperatorProfile(Record):
    """The nodes of an operator together. `bound` is what holds for most of their time."""

    operator: str
    nodes: int
    ms: float
    share: float
    macs: int | None
    bytes: int | None
    bound: Bound | None


class Profile(Record):
    """Where the time of one inference goes.

    Attributes:
        source: The model, in words.
        batch: Samples per inference; None where inputs have no leading size.
        threads: Threads asked for; 0 is all cores.
        runs: Inferences that were profiled.
        latency: Time of the whole inference, without profiling.
        operators: By falling time.
        nodes: In order of execution.
        memory_bytes: Peak resident memory of a process of its own, None with a reason.
        advice: What can be written in other operators that may be faster, in sentences.
    """

    source: str
    batch: int | None
    threads: int
    runs: int
    latency: Timing
    operators: tuple[OperatorProfile, ...]
    nodes: tuple[NodeProfile, ...]
    ceilings: Ceilings
    memory_bytes: int | None = None
    memory_reason: str | None = None
    advice: tuple[str, ...] = ()
