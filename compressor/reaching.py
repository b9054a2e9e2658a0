"""Prunes to what the user asked for, at the precision that ships, within the quality budget.

The whole graph is made what would ship of it first: what is pruned has to beat that. A goal that
only a measurement can tell (speed, latency, size) is approached by secant steps on the cost that
the allocation goes by. Where the budget refuses, less is removed, by bisection on the share.
"""

import os
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx_ir as ir
from threadpoolctl import threadpool_limits

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.bench import Bench
from compressor.decided import Decided
from compressor.errors import PruningError, RecipeError
from compressor.evaluation.results import LatencyResult, QualityResult
from compressor.goal import Goal
from compressor.judging import Judging
from compressor.kernel_times import KernelTimes
from compressor.pruner import CostOf, Pruned, Pruner
from compressor.pruning.costs import Macs, Parameters
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.realize import policy_of
from compressor.records import Decision, StageRecord
from compressor.removal import CostKind, removed
from compressor.report.format import configuration, loss_words, percent, ratio, ratio_interval
from compressor.report.schema import Candidate
from compressor.search import with_precision
from compressor.starting import undecided

ROUNDS = 4
"""Attempts at a measured goal."""
STEPS = 3
"""Smaller shares that are tried where the budget refuses."""
CLOSE = 0.03
"""Relative distance above a measured goal that needs no other attempt."""
PROFILED = 8
"""Samples that calibrate a graph whose kernels are only timed."""


@dataclass(frozen=True)
class Attempt:
    """One pruned candidate at the precision that ships.

    Attributes:
        share: Of the cost that was removed.
        decided: What it came to.
        race: Against the float baseline.
        reached: Of the goal: 1 is exactly what was asked, more is further.
        quality: On the search samples, where there is a budget.
        accepted: By the budget; True where there is none.
        reason: Why.
    """

    share: float
    decided: Decided
    race: LatencyResult
    reached: float
    quality: QualityResult | None = None
    accepted: bool = True
    reason: str = ""

    def candidate(self, *, shipped: bool) -> Candidate:
        """For the report."""
        what = "INT8" if self.decided.plan.ship == "int8" else "float"
        return Candidate(
            name=f"{percent(self.share)} pruned, {what}",
            shipped=shipped,
            reason=self.reason,
            latency=self.race,
            quality=self.quality,
            accepted=self.accepted,
            integer_nodes=len(self.decided.plan.integer),
        )


def decide(
    bench: Bench,
    data: CalibrationSet | None,
    stats: CalibrationStats | None = None,
    judging: Judging | None = None,
) -> Decided:
    """Decide what ships: prune where that was asked for, then quantize where it pays.

    Args:
        bench: The captured graph and how to measure.
        data: Calibration samples.
        stats: What was collected from such samples earlier.
        judging: The quality budget; None accepts any quality.

    Raises:
        RecipeError: Pruning was asked for without calibration data.
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """
    goal = bench.recipe.prune.goal
    if goal is not None and (data is None or stats is not None):
        raise RecipeError(
            f"{goal.flag} needs calibration data to choose and repair what stays",
            hint="Pass --calib DATA, without --stats: statistics are of the whole graph.",
        )
    start = undecided(bench, stats)
    if goal is None or data is None:
        return with_precision(bench, start, data, stats, judging)
    # Threads of BLAS and of the runtime wait for work in turn, each spinning on the other's cores.
    with threadpool_limits(max(1, (os.cpu_count() or 1) // 2), user_api="blas"):
        return _Reaching(bench, start, data, judging, goal).run()


@dataclass
class _Reaching:
    bench: Bench
    start: Decided
    data: CalibrationSet
    judging: Judging | None
    goal: Goal
    attempts: list[Attempt] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    def run(self) -> Decided:
        """The attempt that reaches the goal, as far as the budget allows; else the whole graph."""
        whole = with_precision(self.bench, self.start, self.data)
        pruner = Pruner(self.bench, self.start.baseline, self.data, self._multiple(whole))
        self._pruner, self._whole = pruner, whole
        self._race = self._raced(whole.shipped)
        self._cost_of = self._costs(pruner)
        self._full = self._cost_of(pruner.whole.sizes)({})
        target = self._first()
        if target >= self._full:
            return self._without_pruning(f"{self.goal.flag} is reached without pruning")
        try:
            best = self._reach(target)
            if best.accepted:
                return self._kept(best)
            smaller = self._step_back(best)
        except PruningError as error:
            return self._without_pruning(f"pruning was given up: {error.message}")
        if smaller is None:
            why = "no pruned graph kept the budget, so that nothing was pruned"
            return self._without_pruning(why, held_back=why)
        why = f"the budget allows {percent(smaller.share)} {self._unit} to be removed"
        return self._kept(smaller, held_back=why)

    def _multiple(self, whole: Decided) -> int:
        asked = self.bench.recipe.prune.round
        return asked or self.bench.target.channel_multiple(integer=whole.plan.ship == "int8")

    def _raced(self, shipped: ir.Model) -> LatencyResult:
        seconds = self.bench.recipe.measure.seconds / 2
        with self.bench.progress.stage("compare speed"):
            return self.bench.race(self.start.baseline, shipped, seconds=seconds)

    def _costs(self, pruner: Pruner) -> CostOf:
        if not self.goal.timed:
            return Macs if self.goal.kind == "macs" else Parameters
        times = KernelTimes(
            self.bench,
            self.start.baseline,
            pruner.whole.grouping,
            pruner.whole.sizes,
            self._roughly,
            multiple=pruner.multiple,
        )
        return times.cost

    def _roughly(self, model: ir.Model) -> ir.Model:
        """At the precision that ships, of which only speed and size count."""
        if self._whole.plan.ship == "float":
            return model
        policy = policy_of(self.bench.target, self.bench.recipe.quantize)
        options = CalibrationOptions("minmax", batch=PROFILED)
        choice = calibrate(model, self.data.take(PROFILED), policy, options)
        return quantize_static(
            model, choice.integer, choice.ranges, policy, weight_bits=policy.weight.bits
        )

    def _first(self) -> float:
        """The cost to begin with."""
        if self.goal.kind in ("macs", "params"):
            return self._full * (1 - self.goal.amount)
        return self._full * self._amount(self._whole.shipped, self._race)

    def _amount(self, shipped: ir.Model, race: LatencyResult) -> float:
        """How far from the goal something is: below 1 it has to become smaller by that factor."""
        if self.goal.kind == "speedup":
            return race.ratio / self.goal.amount
        if self.goal.kind == "latency":
            return self.goal.amount / (race.result.median_ms / 1e3)
        if self.goal.kind == "size":
            return self.goal.amount / self._bytes(shipped)
        raise AssertionError(self.goal.kind)

    def _bytes(self, model: ir.Model) -> int:
        with tempfile.TemporaryDirectory(prefix="compressor-") as folder:
            built = self.bench.target.build(model, Path(folder))
            return sum(file.stat().st_size for file in built.files)

    def _reach(self, target: float) -> Attempt:
        """An attempt at a cost that a measured goal was approached to by drafts."""
        if self.goal.kind not in ("macs", "params"):
            target = self._approached(target)
        return self._attempt(target)

    def _approached(self, target: float) -> float:
        """The cost at which the goal is reached and hardly more; else the nearest found.

        Drafts are not repaired and only roughly quantized, which their speed and size do not
        depend on.
        """
        best: tuple[tuple[bool, float], float] | None = None
        seen: set[float] = set()
        for _ in range(ROUNDS):
            pruned = self._pruner.to(self._cost_of, target, repaired=False)
            shipped = self._roughly(pruned.model)
            reached = self._amount(shipped, self._raced(shipped))
            distance = self._distance(reached)
            if best is None or distance < best[0]:
                best = distance, target
            again = target * reached / (1 + CLOSE / 2)
            still = pruned.cost in seen or abs(again - target) < 1e-3 * self._full
            seen.add(pruned.cost)
            if 1 <= reached <= 1 + CLOSE or still or again >= self._full:
                break
            target = again
        return target if best is None else best[1]

    def _distance(self, reached: float) -> tuple[bool, float]:
        """From the goal: what meets it comes before all that does not."""
        return not self.goal.is_met(reached), abs(reached - 1)

    def _step_back(self, refused: Attempt) -> Attempt | None:
        """The largest share that the budget accepts."""
        fails, holds, best = refused.share, 0.0, None
        for _ in range(STEPS):
            found = self._attempt(self._full * (1 - (fails + holds) / 2))
            if found.accepted:
                holds, best = found.share, found
            else:
                fails = min(found.share, fails)
        return best

    def _attempt(self, target: float) -> Attempt:
        pruned = self._pruner.to(self._cost_of, target)
        plan = self.start.plan.model_copy(update={"prune": pruned.plan})
        start = replace(self.start, shipped=pruned.model, pruned=pruned.model, plan=plan)
        decided = with_precision(self.bench, start, self.data)
        decided = replace(decided, records=self._records(decided, pruned))
        share = 1 - pruned.cost / self._full
        decided = replace(decided, pruning=removed(pruned, self._held_in, share))
        race = self._raced(decided.shipped)
        reached = 1.0 if pruned.reached else 0.0
        if self.goal.kind not in ("macs", "params"):
            reached = self._amount(decided.shipped, race)
        attempt = self._judged(Attempt(share, decided, race, reached))
        self.attempts.append(attempt)
        return attempt

    def _records(self, decided: Decided, pruned: Pruned) -> tuple[StageRecord, ...]:
        first = len(self.start.records)
        return (
            *decided.records[:first],
            *pruned.records,
            *decided.records[first:],
        )

    def _judged(self, attempt: Attempt) -> Attempt:
        speed = f"{ratio(attempt.race.ratio)} the speed of the float baseline"
        if self.judging is None:
            return replace(attempt, reason=f"it ran at {speed}")
        judgement, quality = self.judging.try_out(
            self.bench.prepared, self.bench.target, attempt.decided.shipped
        )
        accepted = self.judging.accepts(judgement)
        loss = "no finite value"
        if judgement.loss is not None:
            loss = f"a loss of {loss_words(judgement.loss, quality.unit)}"
        reason = (
            f"{'accepted' if accepted else 'refused'} on the search samples: {loss}; "
            f"{loss_words(judgement.allowed, quality.unit)} are allowed; it ran at {speed}"
        )
        return replace(attempt, quality=quality, accepted=accepted, reason=reason)

    def _without_pruning(self, reason: str, held_back: str | None = None) -> Decided:
        """What ships of the whole graph."""
        decided = self._whole
        if self.judging is not None:
            decided = with_precision(self.bench, self.start, self.data, None, self.judging)
        decision = Decision(subject="pruning", verdict="none", reason=reason)
        record = self._record(decision, decided, held_back)
        return replace(
            decided,
            held_back=held_back,
            reason=f"{reason}; {decided.reason}",
            records=(*decided.records, record),
            candidates=(*(a.candidate(shipped=False) for a in self.attempts), *decided.candidates),
        )

    def _kept(self, best: Attempt, held_back: str | None = None) -> Decided:
        """The best attempt, unless the whole graph is faster at the precision that ships."""
        with self.bench.progress.stage("compare speed"):
            race = self.bench.race(
                self._whole.shipped,
                best.decided.shipped,
                seconds=self.bench.recipe.measure.seconds,
            )
        what = "INT8" if self._whole.plan.ship == "int8" else "float"
        told = f"pruned it ran at {ratio(race.ratio)} the speed of {what} alone"
        at = f"{ratio_interval(race.interval)} at {configuration(race.config)}"
        if race.verdict == "slower" and not self.bench.recipe.quantize.keep_slower:
            return self._without_pruning(
                f"{told}, so the pruning was reverted (--keep-slower keeps it)"
            )
        decision = Decision(subject="pruning", verdict="kept", reason=told)
        record = self._record(decision, best.decided, held_back)
        return replace(
            best.decided,
            held_back=held_back,
            reason=f"{percent(best.share)} {self._unit} removed: {told} ({at})",
            records=(*best.decided.records, record),
            candidates=tuple(a.candidate(shipped=a is best) for a in self.attempts),
        )

    @property
    def _unit(self) -> str:
        units = {"macs": "of the multiply-accumulates", "params": "of the parameters"}
        if self.goal.kind == "size":
            return units["params"]
        return units.get(self.goal.kind, "of the predicted time")

    @property
    def _held_in(self) -> CostKind:
        if self.goal.timed:
            return "latency"
        return "macs" if self.goal.kind == "macs" else "params"

    def _record(self, decision: Decision, decided: Decided, held_back: str | None) -> StageRecord:
        told = sum(record.seconds for record in decided.records[len(self.start.records) :])
        return StageRecord(
            name="reach the goal",
            seconds=max(0.0, time.perf_counter() - self.started - told),
            parameters={"goal": self.goal.flag, "attempts": len(self.attempts)},
            notices=() if held_back is None else (f"{self.goal.flag} was not met: {held_back}",),
            decisions=(
                *(
                    Decision(
                        subject=a.candidate(shipped=False).name,
                        verdict="accepted" if a.accepted else "refused",
                        reason=a.reason,
                    )
                    for a in self.attempts
                ),
                decision,
            ),
        )
