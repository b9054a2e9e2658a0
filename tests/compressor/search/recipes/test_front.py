"""Fronts and their volume, against counting points."""

import numpy as np
import pytest

from compressor.search.recipes.front import dominates, front_of, hypervolume, knee


def test_a_front_is_what_nothing_dominates() -> None:
    points = [(1.0, 3.0), (2.0, 2.0), (2.0, 2.0), (3.0, 3.0), (3.0, 1.0)]
    assert front_of(points) == [0, 1, 4]
    assert dominates((1.0, 1.0), (1.0, 2.0))
    assert not dominates((1.0, 1.0), (1.0, 1.0))


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_the_volume_is_the_share_of_the_box_that_is_dominated(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    points = [tuple(row) for row in rng.random((6, objectives))]
    reference = (0.9,) * objectives
    asked = rng.random((200_000, objectives)) * 0.9
    below = np.zeros(len(asked), bool)
    for point in points:
        below |= (asked >= np.array(point)).all(axis=1)
    # Three standard errors of a share of 200,000 draws.
    assert hypervolume(points, reference) == pytest.approx(below.mean(), abs=0.0035)


def test_a_gain_counts_as_no_loss_and_what_is_beyond_counts_nothing() -> None:
    assert hypervolume([(1.0, -5.0)], (2.0, 1.0)) == 0.5
    assert hypervolume([(3.0, 0.0)], (2.0, 1.0)) == 0.0


def test_the_knee_is_nearest_to_the_ideal() -> None:
    assert knee([(1.0, 10.0), (1.2, 2.0), (4.0, 1.0)]) == 1
    assert knee([(1.0, 1.0)]) == 0
