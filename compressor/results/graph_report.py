"""Everything about one graph of a job."""

from typing import Literal

from pydantic import Field

from compressor.results.attention import AttentionResult
from compressor.results.engine import EngineBuild
from compressor.results.exits import ExitsResult
from compressor.results.measured import Measured
from compressor.results.measurements import (
    ChangedSample,
    LatencyResult,
    QualityResult,
    Size,
    Timing,
)
from compressor.results.precision import Precision
from compressor.results.pruning import GoalResult, PruningResult
from compressor.results.records import Parity, Record
from compressor.results.regions import RegionResult
from compressor.results.training import TrainingResult


class NodePlacement(Record):
    """Counts of an operator's nodes that run as integer and as float in the runtime's own graph."""

    operator: str
    integer: int
    floating: int


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
