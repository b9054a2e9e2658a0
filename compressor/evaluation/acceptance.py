"""Whether measured scores hold a budget: one-sided 95 % bounds on a paired loss.

A loss is accepted when its upper bound stays within what is allowed. A result whose true loss is
at the budget's edge is therefore accepted in at most one run of twenty; `benchmarks/budget.py`
measures how often. What a bound cannot see is a failure too rare to occur among the samples: of
n samples without one, up to 3 / n of all may still fail.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compressor.evaluation.intervals import (
    LEAST_UNITS,
    mean_loss_bound,
    paired_difference_bound,
    proportion_loss_bound,
)
from compressor.evaluation.metrics.base import BASELINE, RESULT, FloatArray, Metric, Scores
from compressor.recipe.budget import Budget

Method = Literal["bound", "point"]
_MOST_NEEDED = 10_000_000


@dataclass(frozen=True)
class Judgement:
    """A result held against a budget, in the metric's unit.

    Attributes:
        baseline: The original's value.
        allowed: The loss that the budget allows.
        loss: The loss that was measured, negative for a gain; None where a value is not finite.
        bound: Its one-sided 95 % upper bound; None where there are too few units for one.
        met: Whether the budget is held, by the bound or, if so asked, by the loss itself.
        n: Units that were compared.
        needed: How many would hold the budget if all went as for these; None where none would.
        noun: What a unit is: a sample, or a batch.
    """

    baseline: float
    allowed: float
    loss: float | None
    bound: float | None
    met: bool
    n: int
    needed: int | None
    noun: str = "sample"


def judge(
    metric: Metric, scores: Scores, budget: Budget, *, method: Method, seed: int
) -> Judgement:
    """Hold the scores of a baseline and a result against a budget.

    Args:
        metric: The metric that the scores are of.
        scores: The scores of `BASELINE` and `RESULT` on the same units.
        budget: What is allowed. A relative one is of the baseline's value on these units.
        method: "bound" asks for proof, "point" takes the measured loss for the true one.
        seed: Seed of the bootstrap.

    Raises:
        RecipeError: The budget means nothing for this metric (`Budget.allowed`).
    """
    before, after = scores.units[BASELINE], scores.units[RESULT]
    baseline, result = float(metric.aggregate(before)), float(metric.aggregate(after))
    allowed = budget.allowed(baseline, metric.name)
    sign = 1.0 if metric.higher_is_better else -1.0
    loss = sign * (baseline - result)
    n = scores.samples if scores.blocks else len(before)
    if not math.isfinite(loss):
        return Judgement(baseline, allowed, None, None, False, n, None, scores.noun)
    enough = scores.samples >= scores.least
    bound = loss_bound(metric, before, after, seed=seed) if enough else None
    decides = loss if method == "point" else bound
    # Of a floor that falls with n a share does, too: in the long run nothing of it is allowed.
    lasting = 0.0 if metric.falls and budget.relative else allowed
    needed = _needed(metric, before, after, loss, lasting)
    if needed is not None:
        needed = max(scores.least, math.ceil(needed * n / len(before)))
    return Judgement(
        baseline=baseline,
        allowed=allowed,
        loss=loss,
        bound=bound,
        met=decides is not None and decides <= allowed,
        n=n,
        needed=needed if enough or loss > allowed else scores.least,
        noun=scores.noun,
    )


def loss_bound(metric: Metric, before: FloatArray, after: FloatArray, *, seed: int) -> float | None:
    """One-sided 95 % upper bound of the loss, in the metric's unit.

    The score bound for proportions, the bootstrap-t for means of one score a unit, and for any
    other aggregate the percentile bootstrap.
    """
    sign = 1.0 if metric.higher_is_better else -1.0
    if _is_proportion(metric, before, after):
        gained, lost = _discordant(before, after, sign)
        return 100 * proportion_loss_bound(gained, lost, len(before))
    scale = _scale(metric, before, after)
    if scale is not None:
        return mean_loss_bound(sign * scale * (before - after)[:, 0], seed=seed)
    if len(before) < LEAST_UNITS:
        return None
    return paired_difference_bound(
        lambda units: -sign * metric.aggregate(units), before, after, seed=seed
    )


def least_samples(metric: Metric, allowed: float) -> int:
    """The fewest units whose scores can hold a budget, even if nothing at all is lost."""
    if not metric.proportion:
        return LEAST_UNITS
    share = allowed / 100
    return _search(lambda n: proportion_loss_bound(0.0, 0.0, n) <= share) or _MOST_NEEDED


def _needed(
    metric: Metric, before: FloatArray, after: FloatArray, loss: float, allowed: float
) -> int | None:
    """Units that would hold the budget at the loss and the discordance of these."""
    n = len(before)
    if loss >= allowed:
        return None
    sign = 1.0 if metric.higher_is_better else -1.0
    if _is_proportion(metric, before, after):
        gained, lost = (count / n for count in _discordant(before, after, sign))
        return _search(lambda m: proportion_loss_bound(gained * m, lost * m, m) <= allowed / 100)
    scale = _scale(metric, before, after)
    if scale is None or n < 2:
        return None
    spread = float((scale * (before - after)[:, 0]).std(ddof=1))
    # 2 is the normal quantile of the tail that `mean_loss_bound` takes.
    return max(LEAST_UNITS, math.ceil((2 * spread / (allowed - loss)) ** 2))


def _search(holds: Callable[[int], bool]) -> int | None:
    """The least n for which it holds, of a condition that stays true once it is."""
    high = 1
    while not holds(high):
        high *= 2
        if high > _MOST_NEEDED:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _is_proportion(metric: Metric, before: FloatArray, after: FloatArray) -> bool:
    binary = all(np.isin(units, (0.0, 1.0)).all() for units in (before, after))
    return metric.proportion and binary


def _discordant(before: FloatArray, after: FloatArray, sign: float) -> tuple[int, int]:
    change = sign * (after - before)
    return int(np.count_nonzero(change > 0)), int(np.count_nonzero(change < 0))


def _scale(metric: Metric, before: FloatArray, after: FloatArray) -> float | None:
    """The c for which the aggregate is c · mean of one column; None where it is something else."""
    if before.shape[1] != 1:
        return None
    scale = float(metric.aggregate(np.ones((1, 1))))
    same = all(
        np.isclose(float(metric.aggregate(units)), scale * float(units.mean()), rtol=1e-9)
        for units in (before, after)
    )
    return scale if same and math.isfinite(scale) else None
