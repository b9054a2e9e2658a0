"""What is measured of the finished result, and what becomes of the budget."""

from dataclasses import dataclass, field

from compressor.division import DataSplit
from compressor.evaluation.quality import summarized
from compressor.evaluation.results import LatencyResult, MemoryResult, QualityResult
from compressor.explaining import Explanation, explain
from compressor.judging import Judging
from compressor.measure import Pair, measure_latency, measure_memory, measure_scores
from compressor.report.schema import BudgetResult
from compressor.search import Decided


@dataclass(frozen=True)
class Measurements:
    """What is measured of the finished result, or why it was not."""

    latency: tuple[LatencyResult, ...] = ()
    latency_reason: str | None = None
    quality: tuple[QualityResult, ...] = ()
    quality_reason: str | None = None
    memory: MemoryResult | None = None
    memory_reason: str | None = None
    budget: BudgetResult | None = None
    explained: Explanation = field(default_factory=Explanation)


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
    scored = () if data.quality is None else measure_scores(pair, data.quality)
    unchanged = "the graph was not changed" if pair.baseline is pair.result else None
    budget = None
    if judging is not None:
        is_float = decided.plan.ship == "float"
        budget = judging.confirmed(*scored[0], is_float=is_float)
    return Measurements(
        latency=() if unchanged else measure_latency(pair),
        latency_reason=unchanged,
        quality=tuple(
            summarized(metric, scores, data_words=data.words, seed=pair.recipe.seed)
            for metric, scores in scored
        ),
        quality_reason=data.quality_reason if data.quality is None else None,
        memory=None if unchanged else measure_memory(pair),
        memory_reason=unchanged,
        budget=budget,
        explained=explain(
            decided, pair, data.search if data.calibration is None else data.calibration
        ),
    )


def _unmeasured(judging: Judging) -> Measurements:
    why = "the run was interrupted"
    return Measurements(
        latency_reason=why,
        quality_reason=why,
        memory_reason=why,
        budget=judging.unconfirmed(),
        explained=Explanation(reason=why),
    )
