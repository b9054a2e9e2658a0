"""What is measured of the finished result, and what becomes of the budget."""

import time
from dataclasses import dataclass, field

from compressor.division import DataSplit
from compressor.evaluation.changed import Changed
from compressor.evaluation.metrics.base import Metric
from compressor.evaluation.quality import summarized
from compressor.evaluation.results import LatencyResult, MemoryResult, QualityResult
from compressor.explaining import Explanation, explain
from compressor.judging import Judging
from compressor.measure import (
    Pair,
    measure_changed,
    measure_latency,
    measure_memory,
    measure_scores,
)
from compressor.records import Effect, StageRecord
from compressor.report.schema import BudgetResult
from compressor.search import Decided


@dataclass(frozen=True)
class Measurements:
    """What is measured of the finished result, or why it was not."""

    changed: Changed
    latency: tuple[LatencyResult, ...] = ()
    latency_reason: str | None = None
    quality: tuple[QualityResult, ...] = ()
    quality_reason: str | None = None
    memory: MemoryResult | None = None
    memory_reason: str | None = None
    budget: BudgetResult | None = None
    explained: Explanation = field(default_factory=Explanation)
    records: tuple[StageRecord, ...] = ()


def measured(
    decided: Decided, pair: Pair, data: DataSplit, judging: Judging | None
) -> Measurements:
    """Quality first: with a budget it is what the run is for.

    Raises:
        KeyboardInterrupt: There is no budget, and so no best so far to write.
    """
    if judging is not None and decided.interrupted:
        return _unmeasured(judging)
    try:
        return _measure(decided, pair, data, judging)
    except KeyboardInterrupt:
        if judging is None:
            raise
        return _unmeasured(judging)


def _measure(
    decided: Decided, pair: Pair, data: DataSplit, judging: Judging | None
) -> Measurements:
    unchanged = "the graph was not changed" if pair.baseline is pair.result else None
    clock = _Clock()
    scored = () if data.quality is None else measure_scores(pair, data.quality)
    quality = tuple(
        summarized(metric, scores, data_words=data.words, seed=pair.recipe.seed)
        for metric, scores in scored
    )
    if scored:
        clock.lap("measure quality")
    is_float = decided.plan.ship == "float" and decided.pruned is None
    budget = None if judging is None else judging.confirmed(*scored[0], is_float=is_float)
    changed = _changed(pair, data, [metric for metric, _ in scored], is_float, clock)
    explained = explain(
        decided, pair, data.search if data.calibration is None else data.calibration
    )
    if explained.layers:
        clock.lap("measure layers")
    # Where so many milliseconds were asked for, it counts what the baseline takes, too.
    latency = () if unchanged and pair.recipe.prune.latency is None else measure_latency(pair)
    if latency:
        clock.lap("measure latency", _speed(latency[0]))
    memory = None if unchanged else measure_memory(pair)
    if not unchanged:
        clock.lap("measure memory")
    return Measurements(
        latency=latency,
        latency_reason=None if latency else unchanged,
        quality=quality,
        quality_reason=data.quality_reason if data.quality is None else None,
        memory=memory,
        memory_reason=unchanged,
        budget=budget,
        explained=explained,
        changed=changed,
        records=tuple(clock.records),
    )


def _changed(
    pair: Pair, data: DataSplit, metrics: list[Metric], is_float: bool, clock: "_Clock"
) -> Changed:
    if data.quality is None:
        return Changed(reason=data.quality_reason)
    if is_float:
        return Changed(reason="float ships, which computes what the original does")
    found = measure_changed(pair, data.quality, metrics)
    clock.lap("compare decisions", changed=found.total)
    return found


def _speed(latency: LatencyResult) -> tuple[Effect, ...]:
    before, after = latency.baseline.median_ms, latency.result.median_ms
    return (Effect(amount="latency_ms", before=before, after=after),)


class _Clock:
    """Records of stages that follow each other, each from the end of the one before."""

    def __init__(self) -> None:
        self.records: list[StageRecord] = []
        self._since = time.perf_counter()

    def lap(
        self, name: str, effects: tuple[Effect, ...] = (), *, changed: int | None = None
    ) -> None:
        """A stage ended here."""
        now = time.perf_counter()
        counts = {} if changed is None else {"decisions changed": changed}
        self.records.append(
            StageRecord(name=name, seconds=now - self._since, changed=counts, effects=effects)
        )
        self._since = now


def _unmeasured(judging: Judging) -> Measurements:
    why = "the run was interrupted"
    return Measurements(
        latency_reason=why,
        quality_reason=why,
        memory_reason=why,
        budget=judging.unconfirmed(),
        explained=Explanation(reason=why),
        changed=Changed(reason=why),
    )
