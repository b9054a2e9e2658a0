"""Candidates are judged by the output after repair, on samples that the repair has not seen."""

from dataclasses import replace

import numpy as np
from graphs import residual

from calibration.dataset import open_dataset
from compressor.pruning import cut, find_groups
from compressor.pruning.allocation import Limits
from compressor.pruning.blocks import output_error
from compressor.pruning.costs import Macs, Sizes
from compressor.pruning.reconstruction import repair
from compressor.pruning.selection import Selecting, Weighing, select, weighed

X = np.random.default_rng(0).standard_normal((32, 32, 8, 8)).astype(np.float32)
DATA = open_dataset({"x": X})
MODEL = residual()
GROUPING = find_groups(MODEL, {"x": X[:2]})
COST = Macs(Sizes(MODEL, GROUPING))
HOW = Selecting(weighings=(Weighing(), Weighing(power=0.2), Weighing(streams=2.0)))


def test_the_target_is_reached_and_the_choice_can_be_repaired():
    found = select(MODEL, GROUPING, DATA, COST, COST({}) * 0.6, HOW)
    assert found.allocation.reached
    keep = found.allocation.keep
    made = cut(MODEL, GROUPING, keep)
    fixed, _ = repair(MODEL, made, GROUPING, keep, DATA)
    fresh = open_dataset({"x": X[::-1].copy()})
    before, after = (output_error(MODEL, one, fresh, batch=8) for one in (made, fixed))
    assert after < before
    assert found.record.changed["units removed"] == sum((~mask).sum() for mask in keep.values())


def test_the_same_seed_makes_the_same_choice():
    one, same = (select(MODEL, GROUPING, DATA, COST, COST({}) * 0.6, HOW) for _ in range(2))
    assert one.weighing == same.weighing
    assert one.errors == same.errors
    for name, mask in one.allocation.keep.items():
        np.testing.assert_array_equal(mask, same.allocation.keep[name])


def test_candidates_that_do_not_differ_are_tried_once():
    """One group only: how it is weighed against others changes nothing."""
    assert len(GROUPING.groups) == 1
    found = select(MODEL, GROUPING, DATA, COST, COST({}) * 0.6, HOW)
    assert not found.errors


def test_a_target_below_the_limits_comes_as_close_as_they_allow():
    how = replace(HOW, limits=Limits(least=0.5))
    found = select(MODEL, GROUPING, DATA, COST, 1.0, how)
    assert not found.allocation.reached
    assert {int(mask.sum()) for mask in found.allocation.keep.values()} == {16}


def test_an_infinite_weight_leaves_a_stream_whole():
    scores = {g.name: np.ones(g.units) for g in GROUPING.groups}
    assert not weighed(MODEL, GROUPING, scores, Weighing(streams=np.inf))
    (values,) = weighed(MODEL, GROUPING, scores, Weighing(streams=4.0)).values()
    assert (values == 4).all()
