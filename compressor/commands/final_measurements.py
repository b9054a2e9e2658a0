"""What is measured of the finished result, and what becomes of the budget."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from compressor.evaluation.changed import Changed
from compressor.evaluation.metrics.base import Metric, Scores
from compressor.evaluation.yardstick import chance
from compressor.results.effects import speed_effects
from compressor.results.graph_report import BudgetResult
from compressor.results.measured import UNCHANGED
from compressor.results.measurements import LatencyResult, MemoryResult, OutputResult, QualityResult
from compressor.results.records import Effect, StageRecord
from compressor.search.candidate import Outcome, ships_float
from compressor.search.data_split import DataSplit
from compressor.search.measure import (
    Pair,
    beyond_memory,
    measure_changed,
    measure_latency,
    measure_memory,
    measure_scores,
    told,
    why_no_memory,
)
from compressor.search.precision.error_analysis import Explanation
from compressor.search.precision.kept_explanation import explained_once
from compressor.search.quality_budget import QualityBudget
from compressor.system.sparing import spared, unfinished
from compressor.system.stopwatch import Stopwatch

INTERRUPTED = "the run was interrupted"
TRIED = 16
"""Samples that an artifact is tried on in a session of a user's own."""


@dataclass(frozen=True)
class Measurements:
    """Measurements of the finished result, or why they were not taken."""

    changed: Changed
    latency: tuple[LatencyResult, ...] = ()
    latency_reason: str | None = None
    quality: tuple[QualityResult, ...] = ()
    quality_reason: str | None = None
    outputs: tuple[OutputResult, ...] = ()
    notices: tuple[str, ...] = ()
    memory: MemoryResult | None = None
    memory_reason: str | None = None
    budget: BudgetResult | None = None
    explained: Explanation = field(default_factory=Explanation)
    records: tuple[StageRecord, ...] = ()
    interrupted: bool = False


def measured(
    outcome: Outcome, pair: Pair, data: DataSplit, budget: QualityBudget | None
) -> Measurements:
    """Quality first: with a budget it is what the run is for.

    Where the user interrupts a run with a budget, what was measured until then is kept.

    Raises:
        KeyboardInterrupt: There is no budget, and so no best so far to write.
    """
    found = nothing = unmeasured(pair, budget)
    if budget is not None and outcome.interrupted:
        return nothing
    try:
        for known in _measure(nothing, outcome, pair, data, budget):
            found = known
    except KeyboardInterrupt:
        if budget is None:
            raise
        return found
    return replace(found, interrupted=False)


def unmeasured(pair: Pair, budget: QualityBudget | None) -> Measurements:
    """As if interrupted at once."""
    unchanged, unmeasurable = _unchanged(pair), pair.target.why_not_measurable()
    nowhere = None if unmeasurable is None else f"not measured: {unmeasurable}"
    return Measurements(
        latency_reason=INTERRUPTED if _is_timed(pair) else unchanged or nowhere,
        quality_reason=INTERRUPTED,
        memory_reason=unchanged or nowhere or why_no_memory(pair) or INTERRUPTED,
        budget=None if budget is None else budget.unconfirmed(),
        explained=Explanation(reason=INTERRUPTED),
        changed=Changed(reason=INTERRUPTED),
        interrupted=True,
    )


def _unchanged(pair: Pair) -> str | None:
    return UNCHANGED if pair.baseline is pair.result else None


def _is_timed(pair: Pair) -> bool:
    """Where so many milliseconds were asked for, it counts what the baseline takes, too."""
    if pair.target.why_not_measurable() is not None:
        return False
    return _unchanged(pair) is None or pair.recipe.prune.latency is not None


def _measure(
    found: Measurements, outcome: Outcome, pair: Pair, data: DataSplit, budget: QualityBudget | None
) -> Iterator[Measurements]:
    """What is known after each measurement; `found` is what is known before."""
    clock, is_float = _Clock(), ships_float(outcome.plan)
    found = _with_quality(found, pair, data, budget, clock, is_float=is_float)
    yield found
    changed = _changed(pair, data, is_float, clock)
    found = replace(found, changed=changed, records=tuple(clock.records))
    yield found
    samples = data.search if data.calibration is None else data.calibration
    explained = spared(
        lambda: explained_once(outcome, pair, samples),
        lambda reason: Explanation(reason=clock.missed("measure layers", reason)),
    )
    if explained.layers:
        clock.lap("measure layers")
    found = replace(found, explained=explained, records=tuple(clock.records))
    yield found
    beyond = beyond_memory(pair.recipe, outcome.baseline, outcome.shipped)
    if beyond is None:
        yield from _with_speed(found, outcome, pair, clock)
        return
    yield replace(
        found,
        latency_reason=beyond if _is_timed(pair) else found.latency_reason,
        memory_reason=beyond if _unchanged(pair) is None else found.memory_reason,
    )


def _with_quality(
    found: Measurements,
    pair: Pair,
    data: DataSplit,
    budget: QualityBudget | None,
    clock: "_Clock",
    *,
    is_float: bool,
) -> Measurements:
    """Quality on what judges, and the verdict of the budget on it."""
    yardstick = pair.prepared.yardstick
    scored: tuple[tuple[Metric, Scores], ...] = ()
    if data.quality is not None and yardstick is not None:
        scored, outputs = measure_scores(pair, data.quality, yardstick)
        found = replace(
            found,
            quality=told(scored, yardstick, data.words, pair.recipe.seed),
            quality_reason=None if scored else yardstick.reason,
            outputs=outputs,
            notices=tuple(
                said for metric, scores in scored if (said := chance(yardstick, metric, scores))
            ),
        )
        clock.lap("measure quality")
    else:
        found = replace(found, quality_reason=data.quality_reason)
    return replace(
        found,
        notices=(*found.notices, *_departures(pair, data)),
        budget=None if budget is None else budget.confirmed(*scored[0], is_float=is_float),
        records=tuple(clock.records),
    )


def _with_speed(
    found: Measurements, outcome: Outcome, pair: Pair, clock: "_Clock"
) -> Iterator[Measurements]:
    """Latency and memory, where they can be measured."""
    if _is_timed(pair):
        latency = measure_latency(pair, _known(outcome, pair))
        clock.lap("measure latency", speed_effects(latency[0]))
        records = tuple(clock.records)
        found = replace(found, latency=latency, latency_reason=None, records=records)
        yield found
    if _unchanged(pair) is None and why_no_memory(pair) is None:
        memory, reason = spared(
            lambda: (measure_memory(pair), None),
            lambda reason: (None, clock.missed("measure memory", reason)),
        )
        if reason is None:
            clock.lap("measure memory")
        found = replace(found, memory=memory, memory_reason=reason, records=tuple(clock.records))
    yield found


def _departures(pair: Pair, data: DataSplit) -> tuple[str, ...]:
    """Where the artifact computes otherwise in a session of a user's own."""
    if data.quality is None:
        return ()
    samples = pair.prepared.fixed_batch or min(TRIED, len(data.quality))
    feeds = data.quality.sample(samples).filled(samples)
    return spared(
        lambda: pair.target.departures(pair.compared[1].model, feeds),
        lambda reason: (unfinished("run the artifact in a plain session", reason),),
    )


def _changed(pair: Pair, data: DataSplit, is_float: bool, clock: "_Clock") -> Changed:
    yardstick = pair.prepared.yardstick
    if data.quality is None or yardstick is None:
        return Changed(reason=data.quality_reason)
    if is_float:
        return Changed(reason="float ships, which computes what the original does")
    samples = data.quality
    found = spared(
        lambda: measure_changed(pair, samples, yardstick),
        lambda reason: Changed(reason=clock.missed("compare decisions", reason)),
    )
    if found.total is not None or found.samples:
        clock.lap("compare decisions", changed=found.total)
    return found


def _known(outcome: Outcome, pair: Pair) -> LatencyResult | None:
    """The race that decided, of the graphs that ship; an engine is built anew, and may differ."""
    return None if pair.result.engine is not None else outcome.known_race


class _Clock:
    """Records of stages that follow each other, each from the end of the one before."""

    def __init__(self) -> None:
        self.records: list[StageRecord] = []
        self._watch = Stopwatch()

    def lap(
        self, name: str, effects: tuple[Effect, ...] = (), *, changed: int | None = None
    ) -> None:
        """A stage ended here."""
        counts = {} if changed is None else {"decisions changed": changed}
        self._add(StageRecord(name=name, seconds=0.0, changed=counts, effects=effects))

    def missed(self, name: str, reason: str) -> str:
        """A stage that only explains failed here; its reason, for what it would have told."""
        self._add(StageRecord(name=name, seconds=0.0, notices=(unfinished(name, reason),)))
        return reason

    def _add(self, record: StageRecord) -> None:
        self.records.append(record.model_copy(update={"seconds": self._watch.seconds}))
        self._watch = Stopwatch()
