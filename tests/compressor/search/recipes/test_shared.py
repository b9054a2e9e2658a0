"""What trials share: regions by a bound on their damage, times by an additive model."""

import numpy as np
import pytest
from graphs import residual
from makers import maker_of

from compressor.search.precision.regions import FLOAT
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
