import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from compressor.evaluation.intervals import (
    paired_difference,
    proportion_difference,
    significant,
)
from compressor.results.records import Interval


def mean(units):
    return units[..., 0].mean(axis=-1)


@st.composite
def pairs(draw):
    n = draw(st.integers(1, 2000))
    gained = draw(st.integers(0, n))
    return gained, draw(st.integers(0, n - gained)), n


@settings(deadline=None)
@given(pairs())
def test_score_interval_agrees_with_mcnemar_and_holds_the_estimate(case):
    gained, lost, n = case
    interval = proportion_difference(gained, lost, n)
    assert -1 <= interval.low <= (gained - lost) / n <= interval.high <= 1
    discordant = gained + lost
    statistic = abs(gained - lost) / np.sqrt(discordant) if discordant else 0.0
    if abs(statistic - norm.ppf(0.975)) > 1e-6:
        assert (0 in interval) == (statistic < norm.ppf(0.975))


@settings(deadline=None)
@given(pairs())
def test_score_interval_turns_round_with_the_models(case):
    gained, lost, n = case
    here, there = proportion_difference(gained, lost, n), proportion_difference(lost, gained, n)
    assert (here.low, here.high) == pytest.approx((-there.high, -there.low), abs=1e-9)


def test_score_interval_without_discordant_pairs_still_has_width():
    """Tango 1998: ± z² / (n + z²) where no pair is discordant."""
    z2 = norm.ppf(0.975) ** 2
    interval = proportion_difference(0, 0, 100)
    assert interval.high == pytest.approx(z2 / (100 + z2), abs=1e-6)
    assert interval.low == pytest.approx(-interval.high, abs=1e-9)


def test_score_interval_covers():
    rng = np.random.default_rng(0)
    chances, n = (0.06, 0.10), 150
    draws = rng.multinomial(n, [*chances, 1 - sum(chances)], size=400)
    held = [
        chances[0] - chances[1] in proportion_difference(int(g), int(lost), n)
        for g, lost, _ in draws
    ]
    assert 0.92 <= np.mean(held) <= 0.98


def test_paired_difference_cancels_what_samples_share():
    rng = np.random.default_rng(4)
    hard = rng.normal(0, 10, (200, 1))
    interval = paired_difference(mean, hard, hard + rng.normal(0.5, 0.1, (200, 1)), seed=0)
    assert interval is not None
    assert 0.45 < interval.low < 0.5 < interval.high < 0.55
    standard_error = 0.1 / np.sqrt(200)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * standard_error, rel=0.2)


def test_few_samples_get_the_width_of_students_t():
    units = np.array([[1.0], [2.0], [3.0], [4.0]])
    interval = paired_difference(mean, np.zeros((4, 1)), units, seed=0)
    plain = 1.96 * np.std(units) / 2  # what a normal approximation would give
    assert interval is not None
    assert interval.high - 2.5 > 1.2 * plain


def test_one_sample_has_no_interval():
    assert paired_difference(mean, np.zeros((1, 1)), np.ones((1, 1)), seed=0) is None


def test_significance():
    assert significant(Interval(low=0.1, high=0.2))
    assert not significant(Interval(low=-0.1, high=0.2))
    assert not significant(Interval(low=0.9, high=1.2), null=1.0)
    assert not significant(None)
