"""Architectures by an additive model: its tables, its front, and what is made of one."""

import numpy as np
import pytest
from graphs import residual
from makers import maker_of

from compressor.graph.files import initializer_bytes
from compressor.search.recipes.making import Maker
from compressor.search.recipes.widths import Architecture, selection_of


@pytest.fixture(scope="module")
def maker() -> Maker:
    return maker_of(residual(), round=4)


def test_the_front_goes_from_the_whole_graph_to_the_smallest(maker: Maker) -> None:
    front = maker.widths.front
    seconds = [one.seconds for one in front]
    damage = [one.damage for one in front]
    assert len(front) >= 3
    assert seconds == sorted(seconds)
    assert damage == sorted(damage, reverse=True)
    assert front[-1] == Architecture({}, (), seconds[-1], 0.0)
    assert any(one.removed for one in front) or any(one.kept for one in front)


def test_the_model_is_the_sum_of_its_tables(maker: Maker) -> None:
    widths, base = maker.widths, maker.shared.pruner.whole
    cost = maker.shared.kernels(1).cost(base.sizes)
    for one in widths.front:
        if not one.removed:
            assert cost(one.kept) == pytest.approx(one.seconds)


def test_the_one_that_loses_least_within_a_time_is_made(maker: Maker) -> None:
    front = maker.widths.front
    narrow = [one for one in front if one.kept and not one.removed]
    wanted = narrow[0] if narrow else front[0]
    found = maker.widths.fastest_within(wanted.seconds)
    assert found is not None
    assert found.seconds <= wanted.seconds
    assert maker.widths.fastest_within(0.0) is None
    whole = maker.made(maker.outline({})).outcome.shipped
    small = maker.made(maker.evolved(wanted)).outcome.shipped
    assert initializer_bytes(small) < initializer_bytes(whole)


def test_a_selection_says_what_goes() -> None:
    found = selection_of({"g": np.array([True, False, False])}, {"g": 0.5}, 3.0)
    assert found.allocation.cost == 3.0
    assert found.record.changed == {"units removed": 2}
