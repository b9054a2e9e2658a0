"""The choice of precisions against trying all of them."""

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compressor.quantization.mixed import Costs, refitted, solve


def instance(seed: int, regions: int, choices: int) -> tuple[Costs, np.ndarray]:
    """Microseconds, some edges, some of them a gain, and damages over decades."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.combinations(range(regions), 2))
    edges = tuple(pair for pair in pairs if rng.random() < 0.5)
    time = rng.uniform(1e-6, 1e-4, (regions, choices))
    time[1:, 1:][rng.random((regions - 1, choices - 1)) < 0.2] = np.inf
    damage = 10 ** rng.uniform(-8, -2, (regions, choices))
    damage[:, 0] = 0.0
    pair = rng.uniform(-1e-5, 5e-5, (len(edges), choices, choices))
    return Costs(time, edges, pair), damage


@settings(max_examples=60, deadline=None)
@example(seed=3, regions=3, choices=3, share=1e-06)
@given(st.integers(0, 10**6), st.integers(1, 5), st.integers(2, 3), st.floats(0.0, 1.0))
def test_it_is_the_fastest_of_all_that_keep_the_bound(
    seed: int, regions: int, choices: int, share: float
):
    costs, damage = instance(seed, regions, choices)
    bound = share * float(damage.max(axis=1).sum())
    rows = range(regions)

    def lost(chosen: tuple[int, ...]) -> float:
        return float(damage[rows, chosen].sum())

    every = itertools.product(range(choices), repeat=regions)
    allowed = [one for one in every if np.isfinite(costs.total(one)) and lost(one) <= bound]
    best = min(costs.total(one) for one in allowed)
    found = solve(costs, damage, bound)
    assert found is not None
    assert lost(found) <= bound * (1 + 1e-5) + 1e-15
    assert costs.total(found) == pytest.approx(best, rel=1e-3, abs=1e-9)


def test_without_a_bound_damage_does_not_matter():
    costs = Costs(np.array([[3e-5, 1e-5], [2e-5, 4e-5]]), (), np.zeros((0, 2, 2)))
    assert solve(costs) == (1, 0)


def test_a_shared_boundary_keeps_an_island_in_float():
    time = np.array([[2e-5, 1e-5]] * 3)
    conversion = np.array([[0.0, 2e-5], [2e-5, 0.0]])
    damage = np.array([[0.0, 1.0], [0.0, 100.0], [0.0, 1.0]])
    apart = Costs(time, (), np.zeros((0, 2, 2)))
    joined = Costs(time, ((0, 1), (1, 2)), np.stack([conversion] * 2))
    assert solve(apart, damage, 5.0) == (1, 0, 1)
    assert solve(joined, damage, 5.0) == (0, 0, 0)
    assert solve(joined) == (1, 1, 1)


def test_no_choice_within_the_bound_is_none():
    costs = Costs(np.array([[1e-5, 2e-5]]), (), np.zeros((0, 2, 2)))
    assert solve(costs, np.array([[1.0, 2.0]]), 0.5) is None


def test_damages_are_refitted_towards_what_was_measured_together():
    damage = np.array([[0.0, 1.0], [0.0, 2.0], [0.0, 4.0]])
    tried, measured = [(1, 1, 0), (1, 1, 1)], [6.0, 10.0]
    found = refitted(damage, tried, measured)
    assert (found[:, 0] == 0).all()
    before = abs(np.array([3.0, 7.0]) - measured)
    after = abs(np.array([found[:2, 1].sum(), found[:, 1].sum()]) - measured)
    assert (after < 0.5 * before).all()
    assert found[1, 1] > 2.0
    assert refitted(damage, [], []) is damage
