"""One graph pruned to any cost: scored once, and cut, checked and repaired for each target."""

from typing import Any

import numpy as np
import pytest
from graphs import model, residual
from pruning_graphs import residual_blocks
from seams import Clock, Told, images, session_of

from compressor.errors import PruningError
from compressor.graph.files import serialize
from compressor.pruning.selection.costs import Macs
from compressor.recipe.goal import NEAR
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.recipe import Recipe
from compressor.search.pruning.pruner import Pruner
from compressor.search.pruning.steps import grouped

X = np.random.default_rng(0).standard_normal((12, 4, 4, 4)).astype(np.float32)


def pruner(made: Any, data: dict[str, np.ndarray], told: Told | None = None, **prune: Any):
    """A pruner, and the cost of the whole graph."""
    options = PruneOptions(**({"macs": "30%", "method": "l2", "round": 1} | prune))
    session = session_of(
        made, Recipe(prune=options), Clock(), calibration=data, progress=told or Told()
    )
    samples = session.prepared.calibration
    assert samples is not None
    found = grouped(session, session.prepared.model, len(samples))
    return Pruner(session, found, samples, options.round or 8), Macs(found.sizes)({})


def test_later_targets_keep_the_blocks_of_the_first_unless_less_is_asked():
    made, full = pruner(residual_blocks(1.0, 1e-4), {"x": X})
    first = made.chosen(Macs, 0.6 * full)
    assert first.base.blocks == 1
    assert made.chosen(Macs, 0.5 * full).base.blocks == 1
    less = made.chosen(Macs, 0.9 * full)
    assert less.base.blocks == 0, "the block alone is more than that"
    assert less.base is made.whole
    assert made.chosen(Macs, 0.6 * full).base is first.base


def test_residual_streams_that_an_early_target_left_whole_go_for_a_later_one():
    block = model(
        """g (float[n,4,4,4] x, float[16,4,1,1] first, float[16,16,1,1] a, float[16,16,1,1] b,
              float[3,16,1,1] last) => (float[n,3,4,4] y)
        {
            s = Conv(x, first)
            h = Conv(s, a)
            r = Relu(h)
            c = Conv(r, b)
            t = Add(c, s)
            y = Conv(t, last)
        }""",
        first=[16, 4, 1, 1], a=[16, 16, 1, 1], b=[16, 16, 1, 1], last=[3, 16, 1, 1],
    )  # fmt: skip
    made, full = pruner(block, {"x": X}, blocks=False, macs=None, speedup="2x")
    early = made.chosen(Macs, 0.8 * full).selection
    assert early.allocation.keep.keys() == {"Conv_1"}
    assert made.chosen(Macs, 0.7 * full).selection.weighing == early.weighing
    later = made.chosen(Macs, 0.2 * full).selection
    assert later.allocation.reached
    assert later.allocation.keep.keys() == {"Conv_0", "Conv_1"}
    assert made.chosen(Macs, 0.6 * full).selection.weighing == early.weighing


@pytest.fixture(scope="module")
def plain():
    told = Told()
    return (*pruner(residual(), images(16, 0), told, blocks=False), told)


def test_the_whole_is_scored_once(plain):
    made, full, told = plain
    scored = told.stages.count("score channels")
    for share in (0.8, 0.6):
        made.to(Macs, share * full, repaired=False)
    assert told.stages.count("score channels") == scored
    assert made.whole.scores["Conv_0"].shape == (32,)
    assert made.whole.blocks == 0


def test_a_plan_says_what_stays_and_how_it_is_repaired(plain):
    made, full, _ = plain
    before = serialize(made.whole.short.model)
    chosen = made.chosen(Macs, 0.5 * full)
    found = made.made(chosen)
    assert serialize(made.whole.short.model) == before
    (kept,) = found.plan.kept.values()
    assert found.model.graph.initializers["w1"].shape[0] == len(kept) < 32
    assert found.reached
    assert found.cost <= 0.5 * full
    assert {"Conv_2/weight", "Gemm_7/weight"} <= set(found.plan.weights)
    assert chosen.removes_like(found.plan)
    assert not made.chosen(Macs, 0.8 * full).removes_like(found.plan)
    gone = np.setdiff1d(np.arange(32), kept)
    assert found.damage["Conv_0"] == pytest.approx(made.whole.scores["Conv_0"][gone].sum())
    names = [record.name for record in found.records]
    assert names[:3] == ["score channels", "select", "repair"]


def test_unrepaired_the_values_stay_as_they_were(plain):
    made, full, _ = plain
    found = made.to(Macs, 0.5 * full, repaired=False)
    assert (found.plan.weights, dict(found.repairs)) == ({}, {})
    (kept,) = found.plan.kept.values()
    value = residual().graph.initializers["w1"].const_value
    cut = found.model.graph.initializers["w1"].const_value
    assert value is not None
    assert cut is not None
    np.testing.assert_array_equal(cut.numpy(), value.numpy()[list(kept)])


def test_what_nothing_can_save_is_an_error():
    made, full = pruner(residual(), images(8, 0), blocks=False, least=1.0)
    with pytest.raises(PruningError, match="nothing that may be removed"):
        made.chosen(Macs, 0.5 * full)


def test_multiples_give_way_where_more_than_was_asked_would_go():
    made, full = pruner(residual(), images(8, 0), blocks=False, macs="30%", round=16)
    cost = made.chosen(Macs, 0.7 * full).selection.allocation.cost
    assert (1 - 0.3 * NEAR) * full <= cost <= 0.7 * full
