"""Candidates are judged by the output after repair, on samples that the repair has not seen."""

from dataclasses import replace

import numpy as np
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.pruning import cut, find_groups
from compressor.pruning.output_error import output_error
from compressor.pruning.reconstruction.repair import repair
from compressor.pruning.selection.allocation import Limits
from compressor.pruning.selection.costs import Macs, Sizes
from compressor.pruning.selection.select import Selecting, Weighing, select, weighed

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


def test_the_least_error_on_unseen_samples_is_chosen_and_the_same_for_a_seed():
    """Two groups, so that weighings differ, and candidates are judged at all."""
    made = model(
        """g (float[n,16] x, float[16,24] w1, float[24,24] w2, float[24,4] w3) => (float[n,4] y)
        { a = MatMul(x, w1)
          b = Relu(a)
          c = MatMul(b, w2)
          d = Relu(c)
          y = MatMul(d, w3) }""",
        w1=[16, 24], w2=[24, 24], w3=[24, 4],
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((64, 16)).astype(np.float32)
    grouping = find_groups(made, {"x": x[:2]})
    cost = Macs(Sizes(made, grouping))
    how = replace(HOW, weighings=(Weighing(), Weighing(power=0.2), Weighing(late=4.0)))

    def selected(seed: int):
        chosen = replace(how, seed=seed)
        return select(made, grouping, open_dataset({"x": x}), cost, cost({}) * 0.6, chosen)

    one, same, other = selected(0), selected(0), selected(1)
    assert len(one.errors) > 1
    assert one.weighing == min(one.errors, key=lambda weighing: one.errors[weighing])
    assert one.errors == same.errors
    for name, mask in one.allocation.keep.items():
        np.testing.assert_array_equal(mask, same.allocation.keep[name])
    assert one.errors.items() != other.errors.items()


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
