"""Search within a budget: steps from the cheapest to the costliest, candidates measured whole.

A step is a function in `STEPS`. It tries candidates on the search samples until one is accepted;
the best so far is always kept, and ends up as the result when time runs out or the user interrupts.
Float is what remains when no step finds anything.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.bench import Bench
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.results import LatencyResult, QualityResult
from compressor.judging import Judging
from compressor.plan import GraphPlan
from compressor.quantization.placement import restricted
from compressor.realize import planned_policy, realize
from compressor.records import Decision, StageRecord
from compressor.report.format import loss_words
from compressor.report.schema import Candidate

GROUPS = 32
"""Weighted nodes are ranked one by one up to so many, above in as many groups of neighbours."""

SAMPLE = 32
"""Samples that rank the groups."""

RACE = 0.6
"""Seconds for the speed of a candidate."""


@dataclass(frozen=True)
class Trial:
    """One candidate on the search samples."""

    name: str
    plan: GraphPlan
    quality: QualityResult
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
            integer_nodes=len(self.plan.integer),
        )


@dataclass
class Stepping:
    """One search: what it works on, what it tried, and the best so far.

    Attributes:
        bench: The captured graph, the target, and how to measure.
        judging: The budget.
        baseline: The float graph that candidates are made of.
        whole: INT8 as is; steps take from it.
        sample: Calibration samples that rank layers.
        trials: In the order tried.
        best: The accepted one with the most integer nodes.
        ended: Why the search was cut short, if it was.
    """

    bench: Bench
    judging: Judging
    baseline: ir.Model
    whole: GraphPlan
    sample: CalibrationSet
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    ended: str | None = None
    interrupted: bool = False
    notices: list[str] = field(default_factory=list)
    ranking: list[Decision] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def run(self) -> StageRecord:
        """Take the steps until one is accepted.

        Raises:
            KeyboardInterrupt: Before anything was accepted: there is no best so far.
        """
        try:
            for step in STEPS:
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
        unit = quality.unit
        told = "no finite value"
        if judgement.loss is not None:
            told = f"a loss of {loss_words(judgement.loss, unit)}"
        if judgement.bound is not None:
            told = f"{told}, with 95 % confidence at most {loss_words(judgement.bound, unit)}"
        reason = (
            f"{'accepted' if accepted else 'refused'} on the search samples: {told}; "
            f"{loss_words(judgement.allowed, unit)} are allowed"
        )
        trial = Trial(name, plan, quality, accepted, reason, floats)
        self.trials.append(trial)
        if accepted and (self.best is None or len(plan.integer) > len(self.best.plan.integer)):
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

    def partly(self, weighted: set[str]) -> GraphPlan:
        """The whole plan with only some of its weighted nodes as integer."""
        policy = planned_policy(self.whole, self.bench.target)
        integer = restricted(self.baseline, self.whole.integer, weighted, policy)
        return self.whole.model_copy(update={"integer": integer})

    def groups(self) -> list[tuple[str, ...]]:
        """The integer weighted nodes in graph order, in at most `GROUPS` groups of neighbours."""
        policy = planned_policy(self.whole, self.bench.target)
        inside = set(self.whole.integer)
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
            decisions=(*tried, *self.ranking),
            notices=(*self.notices, *([self.ended] if self.ended else [])),
        )


def as_is(search: Stepping) -> bool:
    """INT8 wherever it pays."""
    return search.attempt("INT8", search.whole).accepted


def worst_to_float(search: Stepping) -> bool:
    """As few of the worst layers to float as it takes, found by bisection.

    Each group is ranked by the error that it alone causes at the outputs: all others in float, so
    that errors of earlier layers do not count as its own.
    """
    ranked = _ranked(search)
    if ranked is None:
        return False
    fails, holds = 0, len(ranked)
    while holds - fails > 1:
        if search.out_of_time():
            break
        middle = (fails + holds) // 2
        floats = tuple(name for group in ranked[:middle] for name in group)
        kept = {name for group in ranked[middle:] for name in group}
        name = f"INT8, worst {len(floats)} of {len(floats) + len(kept)} layers in float"
        if search.attempt(name, search.partly(kept), floats).accepted:
            holds = middle
        else:
            fails = middle
    return search.best is not None


def all_float(search: Stepping) -> bool:
    """Nothing is left to quantize: float ships, which keeps any budget."""
    del search
    return True


STEPS: tuple[Callable[[Stepping], bool], ...] = (as_is, worst_to_float, all_float)


def _ranked(search: Stepping) -> list[tuple[str, ...]] | None:
    """Groups by falling error at the outputs; None when time ran out or there is one only."""
    groups = search.groups()
    if len(groups) < 2 or search.out_of_time():
        return None
    metric = find_metric("sqnr")
    bench = search.bench
    batch = bench.prepared.fixed_batch or bench.recipe.quantize.batch
    found: list[tuple[float, tuple[str, ...]]] = []
    with (
        bench.progress.stage("rank layers", total=len(groups)) as advance,
        bench.target.open(search.baseline, threads=0, timed=False) as original,
    ):
        for group in groups:
            if search.out_of_time():
                return None
            candidate = realize(search.baseline, search.partly(set(group)), bench.target)
            with bench.target.open(candidate, threads=0, timed=False) as result:
                scores = metric.evaluate({BASELINE: original, RESULT: result}, search.sample, batch)
            ratio = float(metric.aggregate(scores.units[RESULT]))
            found.append((-math.inf if math.isnan(ratio) else ratio, group))
            advance(1)
    found.sort(key=lambda entry: entry[0])
    search.ranking += [
        Decision(
            subject=", ".join(group),
            verdict=f"worst {rank}",
            reason=f"alone as integer it leaves {ratio:.1f} dB of signal to noise at the outputs",
        )
        for rank, (ratio, group) in enumerate(found, start=1)
    ]
    return [group for _, group in found]
