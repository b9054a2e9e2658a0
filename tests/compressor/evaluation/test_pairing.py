"""Ratios of latencies from rounds, with intervals that hold."""

import math

import numpy as np
import pytest

from compressor.evaluation.pairing import (
    SESSIONS,
    estimate,
    estimate_of_sessions,
    sampling_half,
)


def rounds(ratio: float, spread: float, count: int, seed: int = 0) -> np.ndarray:
    return math.log(ratio) + np.random.default_rng(seed).normal(0, spread, count)


def test_ratio_of_a_true_difference():
    found = estimate(rounds(2.0, 0.05, 400), foreign=0.0)
    assert found.ratio == pytest.approx(2.0, rel=0.01)
    assert found.interval.low == pytest.approx(2.0 / 1.03, rel=0.01)
    assert found.interval.high == pytest.approx(2.0 * 1.03, rel=0.01)
    assert found.is_enough


def test_stragglers_of_one_model_do_not_move_the_ratio():
    logs = rounds(2.0, 0.01, 100)
    logs[::5] += 2.0
    assert estimate(logs, 0.0).ratio == pytest.approx(2.0, rel=0.01)


@pytest.mark.parametrize("count", [10, 30, 200])
def test_equals_hold_one(count: int):
    held = [estimate(rounds(1.0, 0.1, count, s), 0.0).high >= 0.0 for s in range(60)]
    also = [estimate(rounds(1.0, 0.1, count, s), 0.0).low <= 0.0 for s in range(60)]
    assert sum(a and b for a, b in zip(held, also, strict=True)) >= 58


def test_a_busy_machine_widens_the_interval():
    logs = rounds(1.5, 0.0, 50)
    quiet, busy = (estimate(logs, share).interval for share in (0.0, 1.0))
    assert quiet.high == pytest.approx(1.5 * 1.03)
    assert busy.high == pytest.approx(1.5 * 1.07)


def test_two_rounds_that_disagree_say_little():
    found = estimate(np.array([0.0, 1.0]), 0.0)
    assert found.interval.high > 100
    assert not found.is_enough
    assert sampling_half(np.array([0.5])) > 10


def test_rounds_that_are_slow_together_count_as_batches():
    wandering = np.repeat(np.random.default_rng(1).normal(0, 0.1, 10), 20)
    assert sampling_half(wandering) > 0.05


def test_sessions_reach_as_far_as_they_disagree():
    sessions = [rounds(ratio, 0.01, 20) for ratio in (1.7, 2.2, 2.3)]
    found = estimate_of_sessions(sessions, 0.0)
    assert found.ratio == pytest.approx(2.2, rel=0.02)
    assert found.interval.low == pytest.approx(1.7, rel=0.02)
    assert found.interval.high > 2.3


def test_one_session_on_several_threads_is_worth_less():
    logs = rounds(2.0, 0.0, 20)
    one, three = estimate_of_sessions([logs], 0.0), estimate_of_sessions([logs] * 3, 0.0)
    assert one.wide == pytest.approx(math.hypot(math.log1p(SESSIONS), math.log1p(0.03)))
    assert three.wide < one.wide
