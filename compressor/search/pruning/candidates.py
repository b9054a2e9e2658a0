"""Pruned candidates, each at the precision that ships, measured and judged whole."""

import time
from dataclasses import dataclass, replace
from functools import cached_property

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.plan.realize import policy_of
from compressor.pruning.selection.costs import Macs, Parameters
from compressor.quantization.dynamic import insert_dynamic, place_dynamic
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.results.format import percent, ratio
from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.precision import EIGHT_BITS, WORDS
from compressor.results.report import Candidate
from compressor.search.acceptance import Judging
from compressor.search.candidate import Decided, Raced
from compressor.search.gauging import Gauge
from compressor.search.precision.search import with_precision
from compressor.search.precision.weight_only import roughly
from compressor.search.pruning.latency_model import KernelTimes
from compressor.search.pruning.pruner import Pruned, Pruner
from compressor.search.pruning.sparsity_2_4 import with_sparsity
from compressor.search.pruning.steps import CostOf, Grouped
from compressor.search.pruning.summary import CostKind, removed
from compressor.search.session import Bench
from compressor.system.sparing import spared, unfinished

PROFILED = 8
"""Samples that calibrate a graph whose kernels are only timed."""


@dataclass(frozen=True)
class Attempt:
    """One pruned candidate at the precision that ships.

    Attributes:
        share: Of the cost that was removed.
        decided: What it came to.
        race: Against the float baseline; None where nothing can be timed.
        quality: On samples that candidates are compared on, where there are any.
        accepted: By the budget; None where there is none.
        reason: Why.
    """

    share: float
    decided: Decided
    race: LatencyResult | None
    quality: QualityResult | None = None
    accepted: bool | None = None
    reason: str = ""

    @property
    def refused(self) -> bool:
        """Whether there is a budget, which it does not keep."""
        return self.accepted is False

    @property
    def speed(self) -> float:
        """In times the float baseline's; 1 where nothing can be timed."""
        return 1.0 if self.race is None else self.race.speed

    @property
    def name(self) -> str:
        """How the report calls it."""
        return f"{percent(self.share)} pruned, {WORDS[self.decided.plan.ship]}"

    def candidate(self, *, shipped: bool) -> Candidate:
        """For the report."""
        return Candidate(
            name=self.name,
            shipped=shipped,
            reason=self.reason,
            latency=self.race,
            quality=self.quality,
            accepted=self.accepted,
            integer_nodes=len(self.decided.plan.quantized),
            pruned=self.share,
        )


class Attempts:
    """What can be made of one float graph by pruning, and what was.

    Attributes:
        bench: The captured graph, the target, and how to measure.
        start: The float graph that is pruned; nothing is decided but that.
        whole: What would ship of it without pruning.
        judging: The quality budget; None accepts any quality.
        made: The attempts so far, in order.
    """

    def __init__(
        self,
        bench: Bench,
        start: Decided,
        whole: Decided,
        data: CalibrationSet,
        groups: Grouped,
        *,
        cost: CostKind,
        judging: Judging | None,
        gauge: Gauge | None,
    ) -> None:
        """Nothing is measured yet.

        Args:
            bench: The captured graph, the target, and how to measure.
            start: The float graph that is pruned.
            whole: What would ship of it without pruning; that precision is the attempts', too.
            data: Calibration samples.
            groups: What of it can be removed.
            cost: What the allocation goes by.
            judging: The quality budget; None accepts any quality.
            gauge: Measures quality where there is no budget; None measures none.
        """
        self.bench, self.start, self.whole, self.judging = bench, start, whole, judging
        self.made: list[Attempt] = []
        self._data, self._groups, self._cost, self._gauge = data, groups, cost, gauge
        self.started = time.perf_counter()

    @property
    def precision(self) -> str:
        """What the whole graph ships as, such as `INT8` or `float`."""
        return WORDS[self.whole.plan.ship]

    @property
    def unit(self) -> str:
        """What shares are of, in words."""
        words = {"macs": "multiply-accumulates", "params": "parameters", "latency": ""}[self._cost]
        return f"of the {words or 'predicted time'}"

    @cached_property
    def multiple(self) -> int:
        """What channel counts stay multiples of."""
        integer = self.whole.plan.ship in EIGHT_BITS
        return self.bench.recipe.prune.round or self.bench.target.channel_multiple(integer=integer)

    @property
    def can_shrink(self) -> bool:
        """Whether anything may go, at that multiple."""
        return self._groups.can_shrink(self.bench, self.multiple)

    @cached_property
    def race(self) -> LatencyResult | None:
        """The whole graph against the float baseline: as it was decided, where that was timed."""
        return self.whole.known_race or self.raced(self.whole.shipped)

    @cached_property
    def full(self) -> float:
        """The cost of the whole graph."""
        return self._cost_of(self._groups.sizes)({})

    def drafted(self, target: float) -> tuple[Pruned, ir.Model]:
        """Pruned, not repaired and only roughly quantized: speed and size do not depend on that.

        Raises:
            PruningError: As `Pruner.to`.
        """
        pruned = self._pruner.to(self._cost_of, target, repaired=False)
        return pruned, self._roughly(pruned.model)

    def at(self, target: float) -> Attempt:
        """Prune, repair, quantize, time and judge; what removes the same as an earlier one is that.

        Args:
            target: The cost that may be left.

        Raises:
            PruningError: As `Pruner.to`.
        """
        chosen = self._pruner.chosen(self._cost_of, target)
        for one in self.made:
            plan = one.decided.plan.prune
            if plan is not None and chosen.removes_like(plan):
                return one
        pruned = self._pruner.made(chosen)
        share = 1 - pruned.cost / self.full
        made = self.start.plan.model_copy(update={"prune": pruned.plan})
        start = replace(self.start, shipped=pruned.model, pruned=pruned.model, plan=made)
        if self.whole.plan.sparse is not None:
            layers = self.whole.plan.sparse.layers
            start = with_sparsity(self.bench, start, self._data, only=layers)
        if self.whole.plan.ship != "float":
            # An undecided race must not change the precision: INT8 of the whole was faster.
            decided = with_precision(self.bench, replace(start, favours_integer=True), self._data)
        else:
            decided = replace(start, float_reasons=self.whole.float_reasons)
        first = len(self.start.records)
        records = (*decided.records[:first], *pruned.records, *decided.records[first:])
        pruning = removed(pruned, self._cost, share)
        decided = replace(decided, records=records, pruning=pruning)
        race = self.raced(decided.shipped)
        if race is not None:
            decided = replace(decided, raced=Raced(decided.baseline, decided.shipped, race))
        attempt = self._judged(Attempt(share, decided, race))
        self.made.append(attempt)
        return attempt

    def raced(self, shipped: ir.Model) -> LatencyResult | None:
        """Something against the float baseline."""
        seconds = self.bench.recipe.measure.seconds / 2
        with self.bench.progress.stage("compare speed"):
            return self.bench.race(self.start.baseline, shipped, seconds=seconds)

    def against_whole(self, best: Attempt) -> LatencyResult | None:
        """What would ship of the whole graph against a pruned candidate, at length."""
        seconds = self.bench.recipe.measure.seconds
        with self.bench.progress.stage("compare speed"):
            return self.bench.race(self.whole.shipped, best.decided.shipped, seconds=seconds)

    @cached_property
    def _pruner(self) -> Pruner:
        return Pruner(self.bench, self._groups, self._data, self.multiple)

    @cached_property
    def _cost_of(self) -> CostOf:
        if self._cost == "macs":
            return Macs
        if self._cost == "params":
            return Parameters
        times = KernelTimes(
            self.bench,
            self._groups.model,
            self._groups.grouping,
            self._groups.sizes,
            self._roughly,
            multiple=self.multiple,
            ships=self._ships(),
        )
        return times.cost

    def _roughly(self, model: ir.Model) -> ir.Model:
        """At the precision that ships, of which only speed and size count."""
        if self.whole.plan.ship == "float":
            return model
        if self.whole.plan.stored is not None:
            return roughly(self.bench, model)
        made = self._integer(model)
        if self.whole.plan.plain_norms:
            self.bench.target.keep_norms_plain(made)
        return made

    def _integer(self, model: ir.Model) -> ir.Model:
        """As INT8, with the ranges of a few samples."""
        policy = policy_of(self.bench.target, self.bench.recipe.quantize)
        if self.whole.plan.dynamic and not self.whole.plan.integer:
            made = model.clone()
            insert_dynamic(made, place_dynamic(model, policy).integer, policy)
            return made
        options = CalibrationOptions("minmax", batch=PROFILED)
        choice = calibrate(model, self._data.take(PROFILED), policy, options)
        made = quantize_static(
            model, choice.integer, choice.ranges, policy, weight_bits=policy.weight.bits
        )
        insert_dynamic(made, choice.dynamic, policy)
        return made

    def _ships(self) -> dict[str, str]:
        """What `_roughly` depends on beside the graph; the ranges change no latency."""
        options = self.bench.recipe.quantize
        asked = options.model_dump_json(
            include={"mode", "cpu", "activation", "symmetric", "weight_bits", "granularity"}
            | {"block", "table_bits", "compute"}
        )
        if self.whole.plan.ship == "float":
            return {"ships": "float"}
        return {"ships": asked, "plain norms": str(self.whole.plan.plain_norms)}

    def _judged(self, attempt: Attempt) -> Attempt:
        speed = "its speed is not known"
        if attempt.race is not None:
            speed = f"it ran at {ratio(attempt.speed)} the speed of the float baseline"
        shipped = attempt.decided.shipped
        if self.judging is None:
            return replace(attempt, quality=self.gauged(shipped), reason=speed)
        with self.bench.progress.stage(f"try {attempt.name}"):
            judgement, quality = self.judging.try_out(
                self.bench.prepared, self.bench.target, shipped
            )
        accepted = self.judging.accepts(judgement)
        reason = f"{self.judging.told(judgement, accepted, 'search')}; {speed}"
        return replace(attempt, quality=quality, accepted=accepted, reason=reason)

    def gauged(self, model: ir.Model) -> QualityResult | None:
        """What a candidate loses, where no budget asks for that."""
        if self._gauge is None:
            return None
        gauge, bench = self._gauge, self.bench

        def unknown(reason: str) -> None:
            bench.progress.notice(unfinished(f"measure quality of {gauge.words}", reason))

        with bench.progress.stage("measure quality"):
            return spared(lambda: gauge.measured(bench.prepared, bench.target, model), unknown)
