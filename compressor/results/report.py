"""The versioned schema of `report.json`, documented for its readers in `docs/report.md`.

Version 1 grows by optional fields, and by null with a reason where a figure cannot be told: what a
reader of version 1 finds keeps its meaning. A change that would break a reader gets the next
version.
"""

from importlib import import_module
from typing import Any, Final, Literal

from pydantic import Field

from compressor.results.attention import AttentionResult
from compressor.results.deployment import Deployment
from compressor.results.engine import EngineBuild
from compressor.results.exits import ExitsResult
from compressor.results.measurements import (
    ChangedSample,
    LatencyResult,
    MemoryResult,
    OutputResult,
    Parity,
    QualityResult,
    Size,
    Timing,
    UseResult,
)
from compressor.results.precision import Precision
from compressor.results.pruning import GoalResult, PruningResult
from compressor.results.records import Record, StageRecord
from compressor.results.regions import RegionResult
from compressor.results.training import TrainingResult

SCHEMA_VERSION: Final = 1


class Environment(Record):
    """Where the figures were measured."""

    platform: str
    processor: str
    cpu_flags: tuple[str, ...]
    """Those that decide which kernels run (`avx2`, `avx512_vnni`, …), not all there are."""
    cores: int
    memory_bytes: int | None = None
    """Installed memory; None where the platform does not tell."""
    python: str
    packages: dict[str, str]


class NodePlacement(Record):
    """Counts of an operator's nodes that run as integer and as float in the runtime's own graph."""

    operator: str
    integer: int
    floating: int


class DataUse(Record):
    """Data that took part in the run, so that it can be told whether two runs saw the same."""

    role: Literal["calibration", "training", "evaluation"]
    description: str
    samples: int
    fingerprint: str | None = None
    """SHA-256 of the preprocessed content."""
    purpose: Literal["search", "confirm"] | None = None
    """With a budget: whether candidates were compared on it, or the chosen one confirmed."""


class Candidate(Record):
    """Something that could have shipped: what it measured, and why it did or did not.

    Where float ships because INT8 was not faster, the INT8 figures stand here.
    """

    name: str
    shipped: bool
    reason: str
    latency: LatencyResult | None = None
    """The latency in the deciding configuration."""
    quality: QualityResult | None = None
    size: Size | None = None
    accepted: bool | None = None
    """With a budget: whether it kept it on the samples that were searched on."""
    integer_nodes: int | None = None
    """How many nodes its plan runs as integer."""
    pruned: float | None = None
    """Share that was removed of what the pruning went by, 0 to 1; None where it is whole."""


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


class BudgetResult(Record):
    """The outcome of the budget: a loss is a change for the worse, in the metric's unit.

    Attributes:
        asked: The budget as it was given: "1%" is relative to `baseline`, "0.5pt" is absolute.
        metric: What it is held in.
        unit: Unit of that metric; losses of percentages are points.
        accept: "bound" where `bound` decides, "point" where `point` does.
        baseline: The original's value on the confirming samples.
        allowed: The loss that is allowed.
        point: The loss that was measured; negative is a gain.
        bound: Its one-sided 95 % upper confidence bound.
        met: Whether the result keeps the budget.
        n: The confirming samples, which no search has seen.
        needed_n: How many of them would have confirmed the result, all else alike; None where
            none would or none are needed.
        method: How the bound was taken, in words.
        reason: Why it is met or not, in one sentence.
        interrupted: Whether the run was interrupted before anything was confirmed.
    """

    asked: str
    metric: str
    unit: str
    accept: Literal["bound", "point"]
    baseline: float | None = None
    allowed: float | None = None
    point: float | None = None
    bound: float | None = None
    met: bool
    n: int
    needed_n: int | None = None
    method: str
    reason: str
    interrupted: bool = False


class LayerError(Record):
    """The error of a layer of the quantized graph against the float graph, on a few samples.

    Attributes:
        node: Its name in the float graph.
        operator: Operator type.
        integer: Whether it was placed as integer, or reads weights in fewer bits.
        reason: Why it stayed float; None where it is integer.
        value: Where the error was measured: what the layer writes, behind an absorbed activation.
        sqnr_db: 10 · log10(Σ y² / Σ (y - y_q)²) with the errors of all layers in front of it,
            within ±100; 100 is no error.
        own_sqnr_db: SQNR of the layer alone as integer; None where it is float.
    """

    node: str
    operator: str
    integer: bool
    reason: str | None = None
    value: str
    sqnr_db: float
    own_sqnr_db: float | None = None


class TensorRange(Record):
    """The observed values of a quantized tensor, and the range that was chosen for it.

    Attributes:
        value: Its name in the float graph.
        method: The range method.
        sqnr_db: SQNR at its readers with only weights quantized beside it (docs/calibration.md).
        low: The least value that the integers represent.
        high: The greatest.
        observed_low: The least value seen, of all elements.
        observed_high: The greatest.
        clipped: Share of the elements that lie outside the range by more than half a step.
        edges: Edges of the histogram's bins, ascending, one more than `counts`. Where values lie
            far outside the range the first bin or the last is wide.
        counts: Elements in each bin.
    """

    value: str
    method: str
    sqnr_db: float
    low: float
    high: float
    observed_low: float
    observed_high: float
    clipped: float
    edges: tuple[float, ...]
    counts: tuple[int, ...]


class GraphReport(Measured):
    """Everything about one graph of a job.

    Attributes:
        shipped: What the artifact holds: "int8", "fp8", weights as "int4", "int8-weights",
            "fp16" or "bf16", or "float".
        shipped_reason: Why, in one sentence for the verdict's second line.
        baseline: What the latency of the result is measured against, in words. Quality and size
            are always compared with the original.
        candidates: What was considered for shipping, in the order tried. With a budget their
            quality is of the samples that were searched on, not of those that confirm; else of
            some of those that judge.
        budget: What became of the budget; None where none was asked for.
        goal: What became of how far to prune; None where nobody said so, a budget apart.
        pruning: What was removed; None where the graph ships whole.
        training: What training brought back; None where nothing was trained.
        integer_training: What training through integers of few bits did after that; likewise.
        attention: What became of efficient attention; None where none was asked for.
        exits: What became of early exits; None where none were asked for.
        placement: Precisions by operator, in the graph that the runtime executes, or its engine
            is built from.
        arithmetic: What float work is computed in, where that is not float32.
        engine: The compiled engine beside the model; None for targets without.
        float_reasons: Node name → why it stayed float, those with most work first.
        float_work: Node name → its share of the multiply-accumulates, of those that have any.
        regions: What was chosen for each region, and from which times and damages; empty where
            neither was measured.
        layers_precision: What the layers below are of; None where there are none.
        layers: Layers of the quantized graph, shipped or not, the worst first. Empty with
            `layers_reason` when not measured.
        tensors: The tensors whose quantization costs the most, the worst first; empty with
            `layers_reason` likewise.
        changed: At most twelve samples on which the result decides otherwise than the original;
            where the outputs are no decisions, those with the largest error.
        changed_total: How many decisions differ in all; None with `changed_reason`.
        modules: Node name → the module of the source that it came from, where the capture tells.
        source_latency: What the PyTorch module itself takes in the deciding configuration, timed by
            itself and for orientation; None of an ONNX file, of the graphs of a loop, and where it
            could not be timed.
    """

    shipped: Precision
    shipped_reason: str
    baseline: str = "the faster of the captured and the folded float graph"
    parity: tuple[Parity, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    budget: BudgetResult | None = None
    goal: GoalResult | None = None
    pruning: PruningResult | None = None
    training: TrainingResult | None = None
    integer_training: TrainingResult | None = None
    attention: AttentionResult | None = None
    exits: ExitsResult | None = None
    placement: tuple[NodePlacement, ...] = ()
    arithmetic: str | None = None
    engine: EngineBuild | None = None
    float_reasons: dict[str, str] = Field(default_factory=dict)
    float_work: dict[str, float] = Field(default_factory=dict)
    regions: tuple[RegionResult, ...] = ()
    layers_precision: Precision | None = None
    layers: tuple[LayerError, ...] = ()
    tensors: tuple[TensorRange, ...] = ()
    layers_reason: str | None = None
    changed: tuple[ChangedSample, ...] = ()
    changed_total: int | None = None
    changed_reason: str | None = None
    modules: dict[str, str] = Field(default_factory=dict)
    source_latency: Timing | None = None


class LoopGraph(Record):
    """What a graph is to its pipeline.

    Attributes:
        calls: How often one unit calls it, on average.
        share: Of the time of its graphs that one unit takes in it, 0 to 1, as captured.
        errors: Signal to noise of its outputs in dB by the part of the run that its calls lie in,
            from first to last, on what the original feeds it; empty where it ships as it was.
        noun: What a call makes, as "token" or "step"; "call" where the loop does not say.
        first: From the beginning of a unit until the first call has its result; None where a unit
            calls the graph once, or where it was not measured.
        each: The time from the end of the first call to that of the last, divided by the calls in
            between; likewise.
    """

    calls: float
    share: float
    errors: tuple[float, ...] = ()
    noun: str = "call"
    first: LatencyResult | None = None
    each: LatencyResult | None = None


class GeneratedUnit(Record):
    """A unit that the loop generated before and after, with the same seed.

    Attributes:
        seed: Its seed.
        error: Norm of the difference over the norm of the original's; of whole numbers, the share
            that differs.
        image: A PNG of both side by side, the original on the left, in a data URI.
        sound: Whether that is of spectrograms.
        before: The original's row of whole numbers, such as tokens, or its text: what is around the
            first difference, where it is long.
        after: The result's.
        parts_at: The first place where the rows differ, in numbers or words from 0.
        marked: The same place in `before` and `after`, in words from 0.
    """

    seed: int
    error: float
    image: str | None = Field(None, pattern=r"^data:image/png;base64,[A-Za-z0-9+/]+=*$")
    sound: bool = False
    before: str | None = None
    after: str | None = None
    parts_at: int | None = None
    marked: int | None = None


class UnitCluster(Record):
    """Units, of those that differ most, whose error lies in the same places.

    Attributes:
        units: How many there are.
        share: Of the units that differ most, 0 to 1.
        error: Their mean error.
        example: The one that is nearest to all of them.
        common: What they have in common, in sentences; empty where nothing was found.
    """

    units: int
    share: float
    error: float
    example: GeneratedUnit
    common: tuple[str, ...] = ()


class PipelineResult(Measured):
    """The user's loop on what ships against the loop on what was captured, with the same seeds.

    Latency is of one unit, on the graphs that speed is compared with and on what ships; sizes are
    those of all graphs together, MACs those of one unit.

    Attributes:
        name: The function.
        units: How many were generated to judge.
        traced: How many were generated to calibrate.
        graphs: In the order in which they were decided, the costliest first.
        budget: What became of the budget; None without one.
        goal: What became of how far to prune, by the figures of the whole; None where nobody said
            so.
        shared_bytes: What is saved by storing once what graphs have in common. The result's size is
            without it; each graph's own size counts all that it reads.
        stepped_back: Graphs that went back to float, as all together broke the budget.
        worst: The units that differ most.
        worst_reason: Why there are none.
        clusters: Kinds of units among the quarter that differs most, the largest first; empty where
            there are too few of them, or nothing sets some apart.
    """

    name: str
    units: int
    traced: int
    graphs: dict[str, LoopGraph]
    budget: BudgetResult | None = None
    goal: GoalResult | None = None
    shared_bytes: int = 0
    stepped_back: tuple[str, ...] = ()
    worst: tuple[GeneratedUnit, ...] = ()
    worst_reason: str | None = None
    clusters: tuple[UnitCluster, ...] = ()


class Report(Record):
    """The measured account of one run.

    Attributes:
        source: The checkpoint, or what else the model came from.
        created: When the run ended, ISO 8601 with its offset.
        seconds: Wall time of the whole run.
        command: The command line that repeats the run; None when called from Python.
        artifact: The output folder; None when nothing was written.
        files: Role ("model", "report", "report.md", "report.json", "plan", "manifest",
            "usage", "reference", with repaired or rounded weights "plan.safetensors"; "weights"
            where they lie beside the model, "onnx" where it is not portable itself; for TensorRT
            "build_engine.py", "engine" and "timing.cache") → path, the folder included.
        graphs: Keyed by graph; a single model is "model".
        pipeline: What the user's loop makes of them together; None where there is none.
        stages: The stages in the order they ran.
        reused: What was taken from the cache and not done anew, each kind with its count.
        deployment: Which target to deploy, where the command made several; else None.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    source: str
    target: str
    created: str
    seconds: float
    command: str | None = None
    artifact: str | None = None
    files: dict[str, str] = Field(default_factory=dict)
    data: tuple[DataUse, ...] = ()
    graphs: dict[str, GraphReport]
    pipeline: PipelineResult | None = None
    stages: tuple[StageRecord, ...] = ()
    notices: tuple[str, ...] = ()
    environment: Environment
    reused: tuple[str, ...] = ()
    deployment: Deployment | None = None

    def summary(self, width: int = 100) -> str:
        """The terminal's summary as text, in lines of so many characters."""
        return str(_shown().as_text(self, width))

    def to_records(self) -> list[dict[str, Any]]:
        """One dict a figure: graph, kind, figure, before, after, change, low, high."""
        return list(_shown().as_records(self))

    def to_pandas(self) -> Any:
        """`to_records` as a DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        return _shown().as_frame(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        shipped = ", ".join(f"{name}: {graph.shipped}" for name, graph in self.graphs.items())
        return f"<Report of {self.source} for {self.target}: {shipped}>"

    def _repr_html_(self) -> str:
        return str(_shown().as_html(self))


def _shown() -> Any:
    """What renders a report: a floor above, and only asked by people."""
    return import_module("compressor.report.shown")


class Comparison(Measured):
    """Any two models side by side, as `compress compare A B` measures them."""

    schema_version: Literal[1] = SCHEMA_VERSION
    baseline: str
    result: str
    notices: tuple[str, ...] = ()
    environment: Environment | None = None
