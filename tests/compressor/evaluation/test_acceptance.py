"""Bounds on losses: what they accept at the budget's edge, and what they cannot know."""

import numpy as np
import pytest
from scipy.stats import binom

from compressor.evaluation.acceptance import judge, least_samples, loss_bound
from compressor.evaluation.intervals import LEAST_UNITS, mean_loss_bound, proportion_loss_bound
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, Scores
from compressor.recipe.budget import parse_budget

ACCURACY, COSINE, F1 = (find_metric(name) for name in ("accuracy", "cosine", "f1"))
RUNS = 300


def scored(before: np.ndarray, after: np.ndarray) -> Scores:
    pair = {BASELINE: np.asarray(before, float), RESULT: np.asarray(after, float)}
    return Scores({name: u.reshape(len(u), -1) for name, u in pair.items()}, "labels", len(before))


@pytest.mark.parametrize(
    ("n", "gain", "loss"), [(40, 0.0, 0.1), (200, 0.0, 0.03), (300, 0.02, 0.02)]
)
def test_a_loss_at_the_edge_is_accepted_in_less_than_a_twentieth_of_all_outcomes(
    n: int, gain: float, loss: float
) -> None:
    """Exact: the probability of every pair of counts, summed where the bound accepts."""
    wrong = 0.0
    most = int(binom.ppf(1 - 1e-5, n, gain + loss))
    for lost in range(most + 1):
        for gained in range(int(binom.ppf(1 - 1e-5, n, gain)) + 1):
            if lost / n < loss + gained / n and proportion_loss_bound(gained, lost, n) <= loss:
                share = gain / (1 - gain - loss)
                wrong += binom.pmf(lost, n, gain + loss) * binom.pmf(gained, n - lost, share)
    assert 0.005 < wrong <= 0.05


@pytest.mark.parametrize("n", [20, 50, 200])
@pytest.mark.parametrize("skew", [0.5, 1.0])
def test_a_mean_at_the_edge_is_accepted_in_at_most_a_twentieth(n: int, skew: float) -> None:
    rng = np.random.default_rng(n)
    edge = np.exp(skew**2 / 2)
    drawn = rng.lognormal(0.0, skew, (RUNS, n))
    wrong = sum((mean_loss_bound(losses, seed=i) or 0) <= edge for i, losses in enumerate(drawn))
    # 5 % of 300 is 15; up to 22 would still be no evidence (binomial, 97.5 %) of more than that.
    assert wrong <= 22


def test_nothing_lost_is_bounded_by_how_many_were_asked() -> None:
    assert proportion_loss_bound(0, 0, 1000) == pytest.approx(3.6 / 1000, rel=0.02)
    assert proportion_loss_bound(0, 10, 10) == 1.0
    bounds = [proportion_loss_bound(0, lost, 200) for lost in range(0, 200, 10)]
    assert bounds == sorted(bounds)


def test_least_samples_is_where_a_perfect_result_begins_to_pass() -> None:
    n = least_samples(ACCURACY, 1.0)
    perfect = np.ones(n)
    budget = parse_budget("1pt")
    assert judge(ACCURACY, scored(perfect, perfect), budget, method="bound", seed=0).met
    fewer = judge(ACCURACY, scored(perfect[1:], perfect[1:]), budget, method="bound", seed=0)
    assert not fewer.met
    assert fewer.needed == n


def test_needed_samples_would_confirm_the_same_rates() -> None:
    before, after = np.ones(500), np.ones(500)
    after[:3] = 0
    found = judge(ACCURACY, scored(before, after), parse_budget("1pt"), method="bound", seed=0)
    assert not found.met
    assert found.loss == pytest.approx(0.6)
    assert found.needed is not None
    rate = 0.006 * found.needed
    assert 100 * proportion_loss_bound(0, rate, found.needed) <= 1.0
    assert 100 * proportion_loss_bound(0, rate, found.needed - 1) > 1.0


def test_a_loss_above_the_budget_is_helped_by_no_number_of_samples() -> None:
    before, after = np.ones(500), np.ones(500)
    after[:10] = 0
    found = judge(ACCURACY, scored(before, after), parse_budget("1pt"), method="bound", seed=0)
    assert (found.met, found.needed) == (False, None)


def test_point_takes_the_measured_loss() -> None:
    before, after = np.ones(100), np.ones(100)
    after[0] = 0
    pair = scored(before, after)
    assert judge(ACCURACY, pair, parse_budget("1pt"), method="point", seed=0).met
    assert not judge(ACCURACY, pair, parse_budget("1pt"), method="bound", seed=0).met


def test_cosine_of_one_makes_a_percent_a_hundredth() -> None:
    after = 1 - np.random.default_rng(0).lognormal(-6, 0.5, 200)
    pair = scored(np.ones(200), after)
    found = judge(COSINE, pair, parse_budget("1%"), method="bound", seed=0)
    assert found.allowed == pytest.approx(0.01)
    assert found.met
    assert found.loss is not None and found.bound is not None
    assert found.loss < found.bound < 0.01


def test_lower_is_better_turns_a_rise_into_a_loss() -> None:
    class Error(type(COSINE)):
        name, higher_is_better = "error", False

    rng = np.random.default_rng(1)
    before = rng.uniform(1, 2, 100)
    worse = judge(
        Error(), scored(before, before + 0.1), parse_budget("0.2pt"), method="bound", seed=0
    )
    assert worse.loss == pytest.approx(0.1)
    assert worse.met
    better = judge(
        Error(), scored(before, before - 0.5), parse_budget("0.2pt"), method="bound", seed=0
    )
    assert better.loss == pytest.approx(-0.5)
    assert better.met


def test_other_aggregates_and_few_units() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 3, 300)
    guess = np.where(rng.random(300) < 0.1, (truth + 1) % 3, truth)
    before, after = np.stack([truth, truth], 1), np.stack([guess, truth], 1)
    bound = loss_bound(F1, before.astype(float), after.astype(float), seed=0)
    assert bound is not None
    assert 0.1 < bound < 0.2
    few = LEAST_UNITS - 1
    assert loss_bound(F1, before[:few].astype(float), after[:few].astype(float), seed=0) is None
    assert mean_loss_bound(np.arange(few, dtype=float), seed=0) is None


def test_what_is_not_a_number_is_never_accepted() -> None:
    after = np.ones(100)
    after[3] = np.nan
    found = judge(COSINE, scored(np.ones(100), after), parse_budget("1pt"), method="point", seed=0)
    assert (found.met, found.loss, found.bound) == (False, None, None)
