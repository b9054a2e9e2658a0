"""Post-training quantization of one float graph: what its steps share, and the loop over them.

Steps prepare the float graph and the plan, or try candidates, cheapest first. With a budget the
first accepted candidate ends the search, unless one that was refused is foreseen to be much faster;
what only loses less than before is what later steps build on. Without one, whatever is free is done
where it brings the outputs closer. The best so far ends up as the result when time runs out or the
user interrupts.
"""

import enum
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from calibration.stats import CalibrationStats
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.quantization.auto import drawn
from compressor.quantization.static import StaticChoice
from compressor.recipe.goal import time_words
from compressor.results.records import Decision, StageRecord
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Candidate, Judged, Outcome
from compressor.search.kept_refinements import refined_once
from compressor.search.precision.latency_placement import Placed
from compressor.search.precision.output_signal import OutputSignal
from compressor.search.precision.refused_nodes import or_undone
from compressor.search.session import Session, Stage
from compressor.system.progress import tell

RACE = 0.6
"""Seconds for the speed of a candidate."""
BEHIND = 1.15
"""Times the predicted seconds of what was refused, from which the search goes on to what lies
between that and what was accepted: predictions are not much closer."""
MEANS = 128
"""Samples that round weights and correct biases, at most; 512 gain ResNet-20 0.1 dB more."""
AS_INTEGER = "as integer it cost more quality than the budget allows"

Make = Callable[[Session, ir.Model, GraphPlan, CalibrationSet, Callable[[], bool]], GraphPlan]
"""What refines a plan by samples; asked meanwhile whether time is over. The plan itself where there
is nothing to refine."""


class Kind(enum.Enum):
    """When a step is taken."""

    PREPARES = "before anything is judged, always"
    FREE = "where nothing is accepted yet; without a budget always, as it costs no speed"
    COSTS = "where nothing is accepted yet, as it costs speed, size or much of the search's time"


class Step(NamedTuple):
    """One step.

    Attributes:
        name: In the field's words.
        take: Does it.
        kind: When it is taken.
    """

    name: str
    take: "Callable[[PtqSearch], object]"
    kind: Kind


class Refinement(NamedTuple):
    """What changes a plan's values and not its speed.

    Attributes:
        stage: What the stage is called.
        subject: What changes.
        verdict: What is said where it is kept.
        make: Does it.
    """

    stage: str
    subject: str
    verdict: str
    make: Make


@dataclass
class PtqSearch:
    """One search: what it works on, what it tried, and the best so far.

    Attributes:
        session: The target, and how to measure.
        acceptance: The budget, or none.
        start: The float graph that candidates are made of, and what led to it.
        plan: Everything in 8 bits that can be, then with what has helped; steps build on it.
        data: Samples that are replayed and averaged, none of those that confirm; None for none.
        calibrating: Samples that ranges are taken from; None for none.
        stats: What calibration saw, where that came from an earlier run.
        named: What `plan` is called.
        calibration: What calibration chose.
        placed: The regions of the graph, and what they take; None before that was looked at.
        pays: Whether all regions are known to pay as integers, so that none has to be timed.
        loss: What `plan` loses on the samples that compare; infinite before that was measured.
        trials: In the order tried, where there is a budget.
        best: The accepted one that should be fastest, by the times of its regions; where those
            are not known, the one that quantizes most.
        stays_float: Why nothing is quantized; None where something may be.
        ended: Why the search was cut short, if it was.
        interrupted: Whether by the user.
        findings: What steps found out on the way, for the report.
        damage: What regions cost in quality, (regions, choices); None until it was measured.
    """

    session: Session
    acceptance: Acceptance
    start: Outcome
    plan: GraphPlan
    data: CalibrationSet | None
    calibrating: CalibrationSet | None = None
    stats: CalibrationStats | None = None
    named: str = "INT8"
    calibration: StaticChoice | None = None
    placed: Placed | None = None
    loss: float = math.inf
    trials: list[Candidate] = field(default_factory=list)
    best: Candidate | None = None
    stays_float: str | None = None
    ended: str | None = None
    interrupted: bool = False
    notices: list[str] = field(default_factory=list)
    findings: list[Decision] = field(default_factory=list)
    damage: FloatArray | None = None
    pays: bool = False
    _signal: OutputSignal | None = None
    _stage: Stage | None = None

    @property
    def graph(self) -> ir.Model:
        """The float graph that candidates are made of."""
        return self.start.graph

    @property
    def has_budget(self) -> bool:
        """Whether candidates can be refused."""
        return self.acceptance.asked is not None

    @property
    def samples(self) -> CalibrationSet:
        """Those that compare, where steps need some."""
        assert self.data is not None, "a budget has samples"
        return self.data

    @property
    def allowed(self) -> float:
        """The loss that the budget allows on the search samples."""
        judged = self.trials[-1].judged if self.trials else None
        found = None if judged is None else judged.judgement
        return 0.0 if found is None else found.allowed

    def run(self, steps: Sequence[Step]) -> None:
        """Take the steps in order, as far as their kind and what became of the others says.

        Raises:
            KeyboardInterrupt: Before anything was accepted, or where there is no budget.
        """
        prepares = [step for step in steps if step.kind is Kind.PREPARES]
        for step in prepares:
            step.take(self)
            if self.stays_float is not None:
                return
        with self.session.stage("search within the budget") as self._stage:
            try:
                self._try([step for step in steps if step.kind is not Kind.PREPARES])
            except KeyboardInterrupt:
                if self.best is None or not self.has_budget:
                    raise
                self.interrupted = True
                self.ended = "the search was interrupted"
        if self.has_budget:
            self.start = self.start.then(self._record())

    def _try(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self.best is not None and not self._goes_on(step.kind):
                continue
            step.take(self)
            if self.best is None and self.out_of_time():
                return

    def _goes_on(self, kind: Kind) -> bool:
        """Whether a step may gain anything on the best so far.

        Within a budget that is speed: ranges found at run time may keep it and take longer than
        what was refused, of which the rest of the search makes something between the two.
        """
        if not self.has_budget:
            return kind is Kind.FREE
        assert self.best is not None, "there is something to gain on"
        is_known = self.placed is not None and self.placed.times is not None
        return is_known and self._order(self.best.plan) > BEHIND * self._order(self.plan)

    def out_of_time(self) -> bool:
        """Whether the time for the search is over; the best so far is the result then."""
        if not self._time_is_over():
            return False
        asked = time_words(self.session.recipe.budget.time)
        self.ended = f"the time budget of {asked} ended the search"
        return True

    def _is_over(self) -> bool:
        return self.ended is not None or self._time_is_over()

    def _time_is_over(self) -> bool:
        limit = self.session.recipe.budget.seconds
        if limit is None or not self.has_budget or self._stage is None:
            return False
        return self._stage.elapsed >= limit

    def attempt(self, name: str, plan: GraphPlan, floats: tuple[str, ...] = ()) -> Candidate:
        """Realize a plan, measure it on the search samples, and keep it if it is the best."""
        with self.session.progress.stage(f"try {name}"):
            model = realize(self.graph, plan, self.session.target)
            judged = self.acceptance.accepts(model)
        reasons = {**self.start.float_reasons, **dict.fromkeys(floats, AS_INTEGER)}
        tried = self._timed(self._candidate(name, plan, reasons, judged), model)
        if not self.trials:
            self._say_what_it_takes(judged)
        self.trials.append(tried)
        tell(self.session.progress, tried.told())
        if tried.accepted and (
            self.best is None or self._order(plan) < self._order(self.best.plan)
        ):
            self.best = tried
        return tried

    def _candidate(
        self, name: str, plan: GraphPlan, reasons: dict[str, str], judged: Judged | None
    ) -> Candidate:
        return Candidate(
            name,
            plan,
            self.start.candidate,
            reason="" if judged is None else judged.words,
            float_reasons=reasons,
            judged=judged,
            calibration=self.calibration,
        )

    def _order(self, plan: GraphPlan) -> float:
        """What is less for the better of two that were accepted."""
        placed = self.placed
        if placed is None or placed.times is None:
            return -plan.extent
        return placed.times.predicted(placed.mix.chosen(plan))

    def _timed(self, tried: Candidate, model: ir.Model) -> Candidate:
        """With its speed in a short race: no decision rests on it, the report shows it.

        The refused are timed as well, or the fast end of the frontier would be missing.
        """
        if self._time_is_over():
            return tried
        seconds = min(RACE, self.session.recipe.measure.seconds)
        race = self.session.race(self.graph, model, seconds=seconds, again=0)
        return replace(tried, latency=race)

    def propose(self) -> None:
        """The plan as it is: tried where there is a budget, else the best until it is refined."""
        if self.has_budget:
            self.change(self.named, self.plan)
        else:
            self.best = self._proposed(self.plan)

    def _proposed(self, plan: GraphPlan) -> Candidate:
        return self._candidate(self.named, plan, dict(self.start.float_reasons), None)

    def change(self, name: str, plan: GraphPlan) -> None:
        """Try another whole plan; of those refused later steps build on what loses least."""
        tried = self.attempt(name, plan)
        assert tried.judged is not None, "it was just judged"
        if not tried.accepted and tried.judged.loss < self.loss:
            self.plan, self.named, self.loss = plan, name, tried.judged.loss

    def refine(self, how: Refinement) -> None:
        """Refine the plan by some samples, and keep that where it loses less.

        With a budget that is a candidate on the search samples. Without one it is judged by the
        signal to noise at the outputs, on samples that did not refine.
        """

        def undone(record: StageRecord, reason: str) -> None:
            del reason
            self.start = self.start.then(record)

        def work() -> None:
            if self.has_budget:
                self._refine_candidate(how)
            elif self.plan.quantized:
                self._refine_signal(how)

        or_undone(self.session, how.stage, work, undone)

    def _refine_candidate(self, how: Refinement) -> None:
        if self.out_of_time():
            return
        few = drawn(self.samples, self.session.recipe.seed, MEANS)
        changed = self._refined(how, few, self.out_of_time)
        if changed is not self.plan:
            self.change(f"{self.named}, {how.subject} {how.verdict}", changed)

    def _refine_signal(self, how: Refinement) -> None:
        """One sample alone refines nothing."""
        if self.data is None or len(self.data) < 2:
            return
        with self.session.stage(how.stage) as stage:
            signal = self._signal or OutputSignal.of(self.session, self.graph, self.data)
            self._signal = signal
            changed = self._refined(how, signal.refining, _never)
            if changed is self.plan:
                return
            before = signal.decibels(self.plan)
            after = signal.decibels(changed)
            kept = signal.gains(before, after)
            stage.parameters = {"samples": len(signal.refining)}
            stage.changed = {"layers": int(kept) * _layers(changed, self.plan)}
            stage.decide(
                how.subject,
                how.verdict if kept else "left alone",
                f"{before:.2f} dB of signal to noise at the outputs, {after:.2f} with "
                f"{how.subject} {how.verdict}, on {len(signal.judging)} other samples",
            )
        self.start = self.start.then(stage.record)
        if kept:
            self.plan = changed
        self.best = self._proposed(self.plan)

    def _refined(
        self, how: Refinement, data: CalibrationSet, expired: Callable[[], bool]
    ) -> GraphPlan:
        """The plan refined by samples, unless an earlier run has kept that."""
        session, graph, plan = self.session, self.graph, self.plan
        make = partial(how.make, session, graph, plan, data, expired)
        return refined_once(session, how.stage, graph, plan, data, make, expired=self._is_over)

    def _say_what_it_takes(self, judged: Judged) -> None:
        notice = self.acceptance.lacking(self.named, judged)
        if notice is not None:
            self.notices.append(notice)
            self.session.progress.notice(notice)

    def _record(self) -> StageRecord:
        assert self._stage is not None, "the search has run"
        stage = self._stage
        stage.parameters = dict(self.acceptance.parameters)
        stage.changed = {"candidates": len(self.trials)}
        for tried in self.trials:
            stage.decide(tried.name, "accepted" if tried.accepted else "refused", tried.reason)
        stage.decisions += self.findings
        stage.notices = [*self.notices, *([self.ended] if self.ended else [])]
        return stage.record


def _layers(changed: GraphPlan, plan: GraphPlan) -> int:
    """Layers in which two plans differ: a refinement adds to a plan."""
    pairs = ((changed.rounded, plan.rounded), (changed.bias, plan.bias))
    return sum(len(new) for new, old in pairs if new is not old)


def _never() -> bool:
    return False
