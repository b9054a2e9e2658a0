"""Quality of the original and of the result on the same samples."""

import numpy as np

from compressor.evaluation.intervals import paired_difference, proportion_difference
from compressor.evaluation.metrics.base import BASELINE, RESULT, FloatArray, Metric, Scores
from compressor.results.measurements import QualityResult
from compressor.results.records import Interval


def summarized(
    metric: Metric, scores: Scores, *, data_words: str, seed: int, output: str | None = None
) -> QualityResult:
    """Both values and the difference, bounded.

    The interval is paired over units: Tango's score interval for proportions, a bootstrap
    elsewhere. Where a value is not a finite number (the sqnr of the original against itself is
    infinite; a model may answer NaN) it is None, and `reason` says why.

    Args:
        metric: See `metrics.find_metric`.
        scores: Scores of both models, on the same samples.
        data_words: What the data is, for the report.
        seed: Seed of the bootstrap.
        output: Whose scores they are; None where they are of all outputs.
    """
    before, after = (float(metric.aggregate(scores.units[name])) for name in (BASELINE, RESULT))
    comparable = np.isfinite(before) and np.isfinite(after)
    interval = _interval(metric, scores, seed) if comparable else None
    return QualityResult(
        metric=metric.name,
        output=output,
        unit=metric.unit,
        higher_is_better=metric.higher_is_better,
        reference=scores.reference,
        baseline=_finite(before),
        result=_finite(after),
        difference=after - before if comparable else None,
        interval=interval,
        samples=scores.samples,
        data=data_words,
        settings=metric.settings,
        reason=_reason(metric, scores, before, after, interval),
    )


def _interval(metric: Metric, scores: Scores, seed: int) -> Interval | None:
    before, after = scores.units[BASELINE], scores.units[RESULT]
    if metric.proportion and _is_binary(before) and _is_binary(after):
        gained = int(np.count_nonzero(after > before))
        lost = int(np.count_nonzero(after < before))
        share = proportion_difference(gained, lost, len(before))
        return Interval(low=100 * share.low, high=100 * share.high, level=share.level)
    return paired_difference(metric.aggregate, before, after, seed=seed)


def _is_binary(units: FloatArray) -> bool:
    return bool(np.isin(units, (0.0, 1.0)).all())


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _reason(
    metric: Metric, scores: Scores, before: float, after: float, interval: Interval | None
) -> str | None:
    if np.isnan(before) or np.isnan(after):
        who = "the original" if np.isnan(before) else "the result"
        why = scores.reasons.get(BASELINE) or scores.reasons.get(RESULT)
        odd = f"{metric.name} of {who} is not a number: its outputs hold NaN or infinity"
        return odd if why is None else f"{metric.name} of {who} is not known: {why}"
    if np.isinf(before) and np.isinf(after):
        return f"the outputs are identical: {metric.name} is infinite"
    if np.isinf(before) and scores.reference == "original":
        return (
            f"the original against itself has no error: its {metric.name} is infinite, and there "
            "is no difference to state"
        )
    if metric.name in ("r2", "nrmse") and np.isinf(after):
        return (
            f"the reference does not vary over these samples, and the result's {metric.name} errs"
        )
    if np.isinf(before) or np.isinf(after):
        who = "the original" if np.isinf(before) else "the result"
        return f"{metric.name} of {who} is infinite"
    if interval is None and scores.noun == "batch":
        return f"{metric.name} has no value per sample, and one batch cannot be resampled"
    if interval is None:
        return "one unit cannot be resampled: there is no interval"
    return None
