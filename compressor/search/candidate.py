"""What could ship, and what ships so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import onnx_ir as ir

from compressor.evaluation.acceptance import Judgement
from compressor.plan.plan import GraphPlan
from compressor.quantization.static import StaticChoice
from compressor.results.attention import AttentionResult
from compressor.results.exits import ExitsResult
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.measurements import LatencyResult, QualityResult, Size
from compressor.results.pruning import PruningResult
from compressor.results.records import StageRecord
from compressor.results.regions import RegionResult
from compressor.results.training import TrainingResult


@dataclass(frozen=True)
class Judged:
    """What an `Acceptance` says of a graph.

    Attributes:
        accepted: Whether it is good enough.
        loss: What it loses, by which candidates are compared; infinite where that is no number.
        words: The verdict for people.
        quality: What was measured; None where nothing was.
        judgement: It held against the budget; None where there is none.
    """

    accepted: bool
    loss: float
    words: str
    quality: QualityResult | None = None
    judgement: Judgement | None = None


@dataclass(frozen=True)
class Candidate:
    """Something that could ship. `realize` makes its graph of the plan; nothing else does.

    Attributes:
        name: How the report calls it.
        plan: What makes it.
        parent: What it was made from; None for the float graph that a run starts at.
        records: Its own stages; `history` has those that led there, too.
        reason: Why it ships or not.
        float_reasons: Node → why it stays float.
        judged: What quality says; None before it was asked.
        latency: Its race against the float graph; None before it was timed, or where it cannot be.
        size: Of its file, where that decides.
        calibration: What calibration chose, and from which statistics; None where only weights are
            quantized.
        share: Of the cost that was pruned; None where nothing was.
    """

    name: str
    plan: GraphPlan
    parent: "Candidate | None" = None
    records: tuple[StageRecord, ...] = ()
    reason: str = ""
    float_reasons: Mapping[str, str] = field(default_factory=dict)
    judged: Judged | None = None
    latency: LatencyResult | None = None
    size: Size | None = None
    calibration: StaticChoice | None = None
    share: float | None = None

    @property
    def history(self) -> tuple[StageRecord, ...]:
        """The stages that led to it, in order."""
        return self.since(None)

    def since(self, ancestor: "Candidate | None") -> tuple[StageRecord, ...]:
        """The stages that led to it from an ancestor; from the start where there is none."""
        found: list[StageRecord] = []
        one: Candidate | None = self
        while one is not None and one is not ancestor:
            found[:0] = one.records
            one = one.parent
        return tuple(found)

    @property
    def accepted(self) -> bool:
        """Whether it was judged, and is good enough."""
        return self.judged is not None and self.judged.accepted

    @property
    def refused(self) -> bool:
        """Whether it was judged, and is not good enough."""
        return self.judged is not None and not self.judged.accepted

    @property
    def speed(self) -> float:
        """How many times as fast as the float graph it is; 1 where nothing can be timed."""
        return 1.0 if self.latency is None else self.latency.speed

    def told(self, *, shipped: bool = False) -> ToldCandidate:
        """For the report."""
        held = self.judged is not None and self.judged.judgement is not None
        return ToldCandidate(
            name=self.name,
            shipped=shipped,
            reason=self.reason,
            latency=self.latency,
            quality=None if self.judged is None else self.judged.quality,
            size=self.size,
            accepted=self.accepted if held else None,
            integer_nodes=None if self.size is not None else len(self.plan.quantized),
            pruned=self.share,
        )


class Raced(NamedTuple):
    """Two graphs and what a race of them said."""

    baseline: ir.Model
    result: ir.Model
    latency: LatencyResult


@dataclass(frozen=True)
class Outcome:
    """What ships so far, with its graphs in hand, and what else was considered.

    Attributes:
        candidate: What ships.
        baseline: The faster of the captured and the folded graph: what speed is compared with.
        plain: The float graph that ships where nothing is quantized: pruned, sparse, or neither.
        graph: The float graph that precision is decided for: `plain`, perhaps with the spread of
            channels moved into weights.
        shipped: What the candidate's plan makes.
        considered: What could have shipped, with the figures that decided.
        quantized: The quantized candidate that ships or was the last; None where there is none, or
            a plan was replayed.
        raced: The last race that something was kept by; None where there was none.
        regions: What was chosen for each region and from which figures; empty where neither times
            nor damages were measured.
        pruning: What was removed; None where nothing was.
        training: What training brought back; None where nothing was trained.
        integer_training: What training through its integers brought; None where there was none.
        attention: What became of efficient attention; None where none was asked for.
        exits: What became of early exits; None where none were asked for.
        held_back: What the quality budget did to how far it was to be pruned; None where nothing.
        interrupted: Whether the user ended the search: this is the best so far, not confirmed.
    """

    candidate: Candidate
    baseline: ir.Model
    plain: ir.Model
    graph: ir.Model
    shipped: ir.Model
    considered: tuple[ToldCandidate, ...] = ()
    quantized: Candidate | None = None
    raced: Raced | None = None
    regions: tuple[RegionResult, ...] = ()
    pruning: PruningResult | None = None
    training: TrainingResult | None = None
    integer_training: TrainingResult | None = None
    attention: AttentionResult | None = None
    exits: ExitsResult | None = None
    held_back: str | None = None
    interrupted: bool = False

    @property
    def plan(self) -> GraphPlan:
        """What was decided."""
        return self.candidate.plan

    @property
    def reason(self) -> str:
        """Why that ships, in one sentence."""
        return self.candidate.reason

    @property
    def float_reasons(self) -> Mapping[str, str]:
        """Node → why it stays float."""
        return self.candidate.float_reasons

    @cached_property
    def records(self) -> tuple[StageRecord, ...]:
        """One a stage, in order."""
        return self.candidate.history

    @property
    def known_race(self) -> LatencyResult | None:
        """The race of the very graphs that speed is reported of, if there was one."""
        raced = self.raced
        if raced is None or raced.baseline is not self.baseline or raced.result is not self.shipped:
            return None
        return raced.latency

    def then(
        self,
        *records: StageRecord,
        plan: GraphPlan | None = None,
        name: str | None = None,
        reason: str | None = None,
        float_reasons: Mapping[str, str] | None = None,
        shipped: ir.Model | None = None,
        plain: ir.Model | None = None,
        graph: ir.Model | None = None,
    ) -> "Outcome":
        """What ships after more stages.

        Args:
            records: What they did.
            plan: What is decided now; as before without.
            name: How that is called; as before without.
            reason: Why that ships; as before without.
            float_reasons: Node → why it stays float, beside those that are known.
            shipped: What that makes; as before without.
            plain: The float graph without integers; as before without.
            graph: The float graph that precision is decided for; as before without.
        """
        before = self.candidate
        after = Candidate(
            before.name if name is None else name,
            before.plan if plan is None else plan,
            before,
            records,
            before.reason if reason is None else reason,
            {**before.float_reasons, **(float_reasons or {})},
        )
        return replace(
            self,
            candidate=after,
            shipped=shipped or self.shipped,
            plain=plain or self.plain,
            graph=graph or self.graph,
        )


def ships_float(plan: GraphPlan) -> bool:
    """Whether a plan makes a float graph that computes what the original does."""
    changed = (plan.prune, plan.sparse, plan.attention, plan.exits, plan.floats)
    return plan.ship == "float" and all(one is None for one in changed)
