"""What trials share: regions by a bound on their damage, times by an additive model."""

import json

import numpy as np
import pytest
from graphs import residual
from makers import maker_of

from compressor.commands.search_folder import Notes
from compressor.search.precision.regions import FLOAT
from compressor.search.pruning.steps import Shrinking
from compressor.search.recipes.shared import Shared


@pytest.fixture(scope="module")
def shared() -> Shared:
    return maker_of(residual()).shared


def test_a_share_bounds_the_damage_by_decades(shared: Shared) -> None:
    regions = shared.regions
    finite = regions.damage[np.isfinite(regions.damage) & (regions.damage > 0)]
    assert regions.bound(0.0) == 0.0
    assert regions.bound(1.0) == np.inf
    bounds = [regions.bound(share) for share in (0.05, 0.5, 0.95)]
    assert bounds == sorted(bounds)
    assert finite.min() < bounds[0] < bounds[2] <= 2 * finite.sum()
    assert not any(regions.chosen(0.0))
    assert any(regions.chosen(1.0))


def test_a_graph_that_is_all_float_takes_what_its_regions_do(shared: Shared) -> None:
    times = shared.regions.times
    assert times is not None
    expected = times.predicted([FLOAT] * len(shared.regions.mix.regions))
    assert shared.seconds({}, None, {}) == pytest.approx(expected)


def test_what_is_narrower_takes_less(shared: Shared) -> None:
    base = shared.pruner.whole
    chosen = shared.named(shared.regions.chosen(1.0))
    group = base.grouping.groups[0]
    whole, half = (
        shared.seconds(chosen, base, kept) for kept in ({}, {group.name: group.units // 2})
    )
    assert whole is not None
    assert half is not None
    assert half < whole
    assert shared.seconds(chosen, None, {}) == pytest.approx(whole)


def test_there_are_blocks_where_a_sum_can_be_left_out(shared: Shared) -> None:
    assert shared.removable == 1
    shared.blocks = 1
    assert len(shared.order) == 1
    base = shared.base(shared.order)
    assert base.blocks == 1
    assert shared.base(shared.order) is base


def test_a_worker_times_nothing_and_weighs_as_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first process noted is all that another one needs of a clock, or of who came first.

    Through JSON, as notes travel; a worker has fewer processors, and no cache that fits those.
    """
    first = maker_of(residual())
    point = {"prune": 0.3, "round": "1", "regions": 1.0, "precision": "int8"}
    known = Notes(None)
    first.shared.noted = known.of
    expected = first.outline(point)
    worker = maker_of(residual())
    told = Notes(None)
    worker.shared.noted = told.of
    told.learn(json.loads(json.dumps(known.all)))

    def timed(*given: object, **more: object) -> None:
        raise AssertionError("a worker timed something")

    monkeypatch.setattr("compressor.search.precision.region_latency._profiled", timed)
    monkeypatch.setattr("compressor.search.pruning.latency_model._timed", timed)
    weighed: list[int] = []
    select = Shrinking.select
    monkeypatch.setattr(
        Shrinking,
        "select",
        lambda self, base, cost, target, weighings, **more: (
            weighed.append(len(weighings)),
            select(self, base, cost, target, weighings, **more),
        )[1],
    )
    found = worker.outline(point)
    assert found.seconds == expected.seconds
    assert found.units is not None
    assert expected.units is not None
    assert found.units.removes_like(expected.units.plan)
    assert weighed == [1], "one weighing was compared, which the first process had chosen"
