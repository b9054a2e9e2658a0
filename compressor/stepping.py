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
from calibration.stats import CalibrationStats
from compressor.bench import Bench
from compressor.evaluation.results import LatencyResult, QualityResult
from compressor.judging import Judging
from compressor.plan import GraphPlan
from compressor.quantization.placement import restricted
from compressor.realize import planned_policy, realize
from compressor.records import Decision, StageRecord
from compressor.report.schema import Candidate

GROUPS = 32
"""Weighted nodes are ranked one by one up to so many, above in as many groups of neighbours."""

SAMPLE = 32
"""Samples that rank layers and ranges by the error at the outputs."""

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
        best: The accepted one that quantizes most.
        ended: Why the search was cut short, if it was.
        findings: What steps found out on the way, for the report.
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
    started: float = field(default_factory=time.perf_counter)

    @property
    def sample(self) -> CalibrationSet:
        """The few samples that rank."""
        return self.data.take(SAMPLE)

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
        if accepted and (self.best is None or plan.extent > self.best.plan.extent):
            self.best = trial
        if len(self.trials) == 1:
            self._say_what_it_takes(judgement.needed)
        return self._timed(trial, candidate)

    def _timed(self, trial: Trial, candidate: ir.Model) -> Trial:
        """With its speed in a short race: no decision rests on it, the report shows it.

        The refused are timed as well, or the fast end of the frontier would be missing.
        """
        if self._time_is_over():
            return trial
        seconds = min(RACE, self.bench.recipe.measure.seconds)
        timed = replace(trial, latency=self.bench.race(self.baseline, candidate, seconds=seconds))
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

    def partly(self, weighted: set[str]) -> GraphPlan:
        """The whole plan with only some of its weighted nodes as integer.

        Those keep their bias corrections, though what is in front of them may be float now.
        """
        policy = planned_policy(self.whole, self.bench.target)
        integer = restricted(self.baseline, self.whole.integer, weighted, policy)
        dynamic = tuple(name for name in self.whole.dynamic if name in weighted)
        bias = {name: stored for name, stored in self.whole.bias.items() if name in integer}
        return self.whole.model_copy(update={"integer": integer, "dynamic": dynamic, "bias": bias})

    def groups(self) -> list[tuple[str, ...]]:
        """The integer weighted nodes in graph order, in at most `GROUPS` groups of neighbours."""
        policy = planned_policy(self.whole, self.bench.target)
        inside = set(self.whole.quantized)
        names = [
            node.name or ""
            for node in self.baseline.graph
            if node.name in inside and node.op_type in policy.weighted
        ]
        size = math.ceil(len(names) / GROUPS)
        return [tuple(names[i : i + size]) for i in range(0, len(names), size)]

    def _say_what_it_takes(self, needed: int | None) -> None:
        """INT8 as is may be good enough and still not provable on so few samples."""
        n = len(self.judging.confirm)
        if not self.judging.provable or needed is None or needed <= n:
            return
        if self.judging.recipe.budget.accept == "bound":
            notice = (
                f"INT8 as is would take {needed:,} confirming samples to prove, there are {n:,}"
                f"{self.judging.source(needed)}"
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
