"""Which exits, and how sure samples have to be."""

from itertools import pairwise

import numpy as np

from compressor.exits.choice import NEVER, Seen, choices, places_left

RNG = np.random.default_rng(0)
SURE = RNG.random(400)


def seen(cost: float, wrong_below: float) -> Seen:
    return Seen(cost, SURE, wrong_below > SURE)


def test_samples_leave_at_the_first_place_that_is_sure() -> None:
    places = [Seen(0.2, np.array([0.9, 0.1, 0.1]), np.zeros(3, bool)),
              Seen(0.5, np.array([0.9, 0.9, 0.1]), np.zeros(3, bool))]  # fmt: skip
    assert places_left(places, [0.5, 0.5]).tolist() == [0, 1, 2]
    assert places_left(places, [NEVER, 0.5]).tolist() == [1, 1, 2]


def test_each_choice_is_cheaper_and_errs_more() -> None:
    found = choices([seen(0.3, 0.8), seen(0.6, 0.4)], 2, 0.01)
    assert len(found) > 1
    assert all(a.cost > b.cost and a.errors < b.errors for a, b in pairwise(found))
    careful = found[0]
    assert careful.errors <= 0.01
    assert careful.places == (0, 1)
    assert careful.cost < 0.85


def test_no_more_exits_than_asked_for_and_none_that_only_cost() -> None:
    places = [seen(0.3, 0.8), seen(0.6, 0.4), seen(0.7, 0.3)]
    assert all(len(one.places) == 1 for one in choices(places, 1, 0.01))
    assert choices([seen(0.99, 0.5)], 1, 0.05) == []
