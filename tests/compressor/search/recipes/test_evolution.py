"""NSGA-II on a problem whose front is known."""

import numpy as np

from compressor.search.recipes.evolution import Levels, Scores, evolved

SIZES = np.full(8, 5)


def leading_ones(people: Levels) -> Scores:
    """Cost is the sum of levels, damage of the missing: every sum is on the front once."""
    total = people.sum(axis=1)
    extra = (people % 2).sum(axis=1)  # odd levels only cost
    return np.stack([total + extra, 32.0 - total], axis=1)


def test_the_front_of_a_known_problem_is_found() -> None:
    starts = np.zeros((1, 8), np.int64)
    people, scores = evolved(leading_ones, SIZES, starts, seed=0, generations=40)
    assert scores[0].tolist() == [0.0, 32.0]
    assert scores[-1].tolist() == [32.0, 0.0]
    even = scores[(people % 2 == 0).all(axis=1)]
    assert len(even) >= 15  # of 17 sums of even levels
    assert (np.diff(scores[:, 0]) > 0).all()
    assert (np.diff(scores[:, 1]) < 0).all()


def test_the_same_seed_gives_the_same_front() -> None:
    starts = np.zeros((1, 8), np.int64)
    one, other = (evolved(leading_ones, SIZES, starts, seed=3, generations=5) for _ in range(2))
    assert (one[0] == other[0]).all()
