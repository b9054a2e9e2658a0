"""Search within a budget: what steps share. Candidates are measured whole; the best is kept.

A step tries candidates on the search samples. What is accepted ends the search; what only loses
less than before is what later steps build on. The best so far ends up as the result when time runs
out or the user interrupts. Float is what remains when no step finds anything.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from calibration.stats import CalibrationStats
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Candidate
from compressor.search.acceptance import Judging
from compressor.search.precision.region_latency import RegionTimes
from compressor.search.precision.regions import Mix
from compressor.search.session import Bench

RACE = 0.6
"""Seconds for the speed of a candidate."""


@dataclass(frozen=True)
class Trial:
    """One candidate on the search samples; `loss` is infinite where it is not a finite number."""

    name: str
    plan: GraphPlan
    quality: QualityResult
    loss: float
    accepted: bool
    reason: str
    floats: tuple[str, ...] = ()
    latency: LatencyResult | None = None

    def candidate(self, *, shipped: bool = False) -> Candidate:
        """For the report."""
        return Candidate(
            name=self.name,
            shipped=shipped,
            reason=self.reason,
            latency=self.latency,
            quality=self.quality,
            accepted=self.accepted,
            integer_nodes=len(self.plan.quantized),
        )


@dataclass
class Stepping:
    """One search: what it works on, what it tried, and the best so far.

    Attributes:
        bench: The captured graph, the target, and how to measure.
        judging: The budget.
        baseline: The float graph that candidates are made of.
        whole: INT8 as is, then with what has helped; steps build on it and take from it.
        data: Samples that are replayed and averaged; none of those that confirm.
        stats: What calibration saw.
        named: What `whole` is called.
        loss: What `whole` loses on the search samples.
        trials: In the order tried.
        best: The accepted one that should be fastest, by the times of its regions; where those
            are not known, the one that quantizes most.
        ended: Why the search was cut short, if it was.
        findings: What steps found out on the way, for the report.
        mix: The graph divided into regions; None where nothing is to be chosen for them.
        times: What they cost; None where speed does not matter (--keep-slower).
        damage: What they cost in quality, (regions, choices); None until it was measured.
        allowed: The loss that the budget allows on the search samples.
    """

    bench: Bench
    judging: Judging
    baseline: ir.Model
    whole: GraphPlan
    data: CalibrationSet
    stats: CalibrationStats | None
    named: str = "INT8"
    loss: float = math.inf
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    ended: str | None = None
    interrupted: bool = False
    notices: list[str] = field(default_factory=list)
    findings: list[Decision] = field(default_factory=list)
    mix: Mix | None = None
    times: RegionTimes | None = None
    damage: FloatArray | None = None
    allowed: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def run(self, steps: Sequence["Step"]) -> StageRecord:
        """Take the steps, cheapest first, until one is accepted.

        Raises:
            KeyboardInterrupt: Before anything was accepted: there is no best so far.
        """
        try:
            for step in steps:
                if step(self) or self.out_of_time():
                    break
        except KeyboardInterrupt:
            if self.best is None:
                raise
            self.interrupted = True
            self.ended = "the search was interrupted"
        return self._record()

    def out_of_time(self) -> bool:
        """Whether the time for the search is over; the best so far is the result then."""
        if not self._time_is_over():
            return False
        self.ended = f"the time budget of {self.judging.recipe.budget.time} ended the search"
        return True

    def _time_is_over(self) -> bool:
        limit = self.judging.recipe.budget.seconds
        return limit is not None and time.perf_counter() - self.started >= limit

    def attempt(self, name: str, plan: GraphPlan, floats: tuple[str, ...] = ()) -> Trial:
        """Realize a plan, measure it on the search samples, and keep it if it is the best."""
        with self.bench.progress.stage(f"try {name}"):
            candidate = realize(self.baseline, plan, self.bench.target)
            judgement, quality = self.judging.try_out(
                self.bench.prepared, self.bench.target, candidate
            )
        accepted = self.judging.accepts(judgement)
        reason = self.judging.told(judgement, accepted, "search")
        loss = math.inf if judgement.loss is None else judgement.loss
        trial = Trial(name, plan, quality, loss, accepted, reason, floats)
        self.trials.append(trial)
        self.allowed = judgement.allowed
        if accepted and (self.best is None or self._order(plan) < self._order(self.best.plan)):
            self.best = trial
        if len(self.trials) == 1:
            self._say_what_it_takes(judgement.needed)
        return self._timed(trial, candidate)

    def _order(self, plan: GraphPlan) -> float:
        """What is less for the better of two that were accepted."""
        if self.mix is None or self.times is None:
            return -plan.extent
        return self.times.predicted(self.mix.chosen(plan))

    def _timed(self, trial: Trial, candidate: ir.Model) -> Trial:
        """With its speed in a short race: no decision rests on it, the report shows it.

        The refused are timed as well, or the fast end of the frontier would be missing.
        """
        if self._time_is_over():
            return trial
        seconds = min(RACE, self.bench.recipe.measure.seconds)
        race = self.bench.race(self.baseline, candidate, seconds=seconds, again=0)
        timed = replace(trial, latency=race)
        self.trials[-1] = timed
        if self.best is trial:
            self.best = timed
        return timed

    def change(self, name: str, plan: GraphPlan) -> bool:
        """Try another whole plan; what loses less is what later steps build on.

        Returns:
            Whether it was accepted.
        """
        trial = self.attempt(name, plan)
        if trial.loss < self.loss:
            self.whole, self.named, self.loss = plan, name, trial.loss
        return trial.accepted

    def _say_what_it_takes(self, needed: int | None) -> None:
        """INT8 as is may be good enough and still not provable on so few samples."""
        n = len(self.judging.confirm)
        if not self.judging.provable or needed is None or needed <= n:
            return
        if self.judging.recipe.budget.accept == "bound":
            notice = (
                f"{self.named} as is would take {needed:,} confirming samples to prove, there are "
                f"{n:,}{self.judging.source(needed)}"
            )
            self.notices.append(notice)
            self.bench.progress.notice(notice)

    def _record(self) -> StageRecord:
        tried = [
            Decision(
                subject=trial.name,
                verdict="accepted" if trial.accepted else "refused",
                reason=trial.reason,
            )
            for trial in self.trials
        ]
        return StageRecord(
            name="search within the budget",
            seconds=time.perf_counter() - self.started,
            parameters={
                "budget": self.judging.budget.asked,
                "accept": self.judging.recipe.budget.accept,
                "search samples": len(self.judging.search),
                "confirming samples": len(self.judging.confirm),
            },
            changed={"candidates": len(self.trials)},
            decisions=(*tried, *self.findings),
            notices=(*self.notices, *([self.ended] if self.ended else [])),
        )


Step = Callable[[Stepping], bool]
"""Tries candidates; whether one was accepted."""
