"""What one run decided: its graphs, the plan that made them, and why."""

from dataclasses import dataclass

import onnx_ir as ir

from compressor.plan.plan import GraphPlan
from compressor.quantization.static import StaticChoice
from compressor.results.measurements import LatencyResult
from compressor.results.pruning import PruningResult
from compressor.results.records import Effect, StageRecord
from compressor.results.regions import RegionResult
from compressor.results.report import Candidate


@dataclass(frozen=True)
class Quantized:
    """A quantized graph, shipped or not, and what made it.

    Attributes:
        model: With Q/DQ, or with weights in fewer bits.
        plan: What it carries out.
        choice: What calibration chose and from which statistics; None where only weights are
            quantized.
        float_reasons: Node → why it stayed float.
    """

    model: ir.Model
    plan: GraphPlan
    choice: StaticChoice | None
    float_reasons: dict[str, str]


@dataclass(frozen=True)
class Raced:
    """Two graphs and what a race of them said."""

    baseline: ir.Model
    result: ir.Model
    race: LatencyResult


@dataclass(frozen=True)
class Decided:
    """The graphs of one run, the plan that made them, and the stages that led there.

    Attributes:
        captured: As it came from the source: what quality is compared with.
        baseline: The faster of captured and folded: what speed is compared with.
        shipped: What goes into the artifact.
        plan: What was decided.
        reason: Why that is shipped, in one sentence.
        float_reasons: Node → why it stayed float.
        records: One a stage.
        candidates: What could have shipped, with the figures that decided.
        interrupted: Whether the user ended the search: this is the best so far, not confirmed.
        quantized: The quantized graph that ships or was the last candidate; None where there is
            none, or a plan was replayed.
        pruned: The smaller float graph; None where nothing was pruned.
        pruning: What was removed from it.
        sparse: The float graph, pruned or not, with 2:4 sparse weights; None where it has none.
        favours_integer: Whether INT8 ships where no difference in speed was found: it was faster on
            the whole graph.
        held_back: What the quality budget did to how far it was to be pruned; None where nothing.
        smoothed: The float graph with the spread of channels moved into weights; None where none
            was.
        regions: What was chosen for each region and from which figures; empty where neither times
            nor damages were measured.
        raced: The last race that something was kept by; None where there was none.
    """

    captured: ir.Model
    baseline: ir.Model
    shipped: ir.Model
    plan: GraphPlan
    reason: str
    float_reasons: dict[str, str]
    records: tuple[StageRecord, ...]
    candidates: tuple[Candidate, ...] = ()
    interrupted: bool = False
    quantized: Quantized | None = None
    pruned: ir.Model | None = None
    pruning: PruningResult | None = None
    sparse: ir.Model | None = None
    favours_integer: bool = False
    held_back: str | None = None
    smoothed: ir.Model | None = None
    regions: tuple[RegionResult, ...] = ()
    raced: Raced | None = None

    @property
    def known_race(self) -> LatencyResult | None:
        """The race of the very graphs that speed is reported of, if there was one."""
        raced = self.raced
        if raced is None or raced.baseline is not self.baseline or raced.result is not self.shipped:
            return None
        return raced.race

    @property
    def plain(self) -> ir.Model:
        """The float graph that ships where nothing is quantized."""
        if self.sparse is not None:
            return self.sparse
        return self.baseline if self.pruned is None else self.pruned

    @property
    def graph(self) -> ir.Model:
        """The float graph that precision is decided for."""
        return self.plain if self.smoothed is None else self.smoothed


def speed_effects(race: LatencyResult | None) -> tuple[Effect, ...]:
    """What a stage did to the latency, if it was measured."""
    if race is None or not race.is_known:
        return ()
    before, after = race.milliseconds
    return (Effect(amount="latency_ms", before=before, after=after),)
