"""What may go of a graph, and each step from a base to a smaller one."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from hypothesis import given
from hypothesis import strategies as st
from seams import TARGET, Clock, Told, images, session_of

from compressor.errors import PruningError
from compressor.graph.files import serialize
from compressor.graph.session import open_session
from compressor.pruning import find_groups
from compressor.pruning.blocks import Shortened
from compressor.pruning.reconstruction.sparsity import GROUP
from compressor.pruning.selection.costs import Macs, Sizes
from compressor.pruning.selection.importance import scores
from compressor.pruning.selection.select import WEIGHINGS, Weighing
from compressor.recipe.goal import NEAR
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.pruning.steps import (
    CHECKED,
    Base,
    Grouped,
    Shrinking,
    checked_feeds,
    grouped,
    limits,
)
from compressor.search.session import Session
from exporters.base import Target
from exporters.trt.target import TrtTarget

DATA = images(24, 0)


def session(
    told: Told | None = None, target: Target = TARGET, made: ir.Model | None = None, **prune: Any
) -> Session:
    recipe = Recipe(prune=PruneOptions(**prune), quantize=QuantizeOptions(memory=10**8))
    return session_of(
        made or residual(), recipe, Clock(), calibration=DATA, target=target,
        progress=told or Told(),
    )  # fmt: skip


def base_of(graph: ir.Model) -> Base:
    """The whole graph, of which every unit is worth as much as its number."""
    grouping = find_groups(graph, images(2, 0))
    worth = {group.name: np.arange(1.0, group.units + 1) for group in grouping.groups}
    return Base(Shortened(graph), grouping, Sizes(graph, grouping, images(2, 0)), worth)


def shrinking(**prune: Any) -> Shrinking:
    made = session(**prune)
    data = made.prepared.calibration
    assert data is not None
    return Shrinking(made, made.prepared.model, data, 8)


# What may go


def test_groups_are_found_and_the_graph_stays_as_it_is():
    told = Told()
    made = session(told)
    before = serialize(made.prepared.model)
    found = grouped(made, made.prepared.model, 24)
    assert [group.name for group in found.grouping.groups] == ["Conv_0"]
    assert serialize(found.model) == before
    assert found.has_blocks
    assert found.notices == ()
    assert found.can_shrink(made, 8)


@pytest.mark.parametrize(
    ("prune", "samples"),
    [
        ({"blocks": False}, 24),
        ({"repair": False}, 24),
        ({"threshold": "0.1", "method": "l2"}, 24),
        ({"leave": ("Add_3",)}, 24),
        ({}, 1),
    ],
    ids=["switched off", "not repaired", "by threshold", "left", "one sample"],
)
def test_blocks_stay_where_they_cannot_be_compared_or_have_to(prune: Any, samples: int):
    made = session(**prune)
    assert not grouped(made, made.prepared.model, samples).has_blocks


def test_a_pattern_that_matches_nothing_is_told():
    told = Told()
    made = session(told, leave=("Conv_99",))
    found = grouped(made, made.prepared.model, 24)
    (notice,) = found.notices
    assert "Conv_99" in notice
    assert "--prune-leave" in notice
    assert notice in told.notices


@pytest.fixture(scope="module")
def without_blocks() -> tuple[Session, Grouped]:
    made = session(blocks=False, speedup="2x")
    return made, grouped(made, made.prepared.model, 24)


@given(st.integers(1, 64))
def test_nothing_shrinks_below_a_multiple_that_is_too_large(without_blocks, multiple: int):
    made, found = without_blocks
    assert found.can_shrink(made, multiple) == (multiple < 32)


def test_limits_are_those_of_the_recipe():
    plain = limits(session(least=0.25, leave=("Conv_2",)), 8)
    assert (plain.least, plain.multiple, plain.leave) == (0.25, 8, ("Conv_2",))
    assert (plain.finer, plain.threshold, plain.most, plain.finest) == ((), None, None, 1)


def test_a_share_may_go_by_no_more_than_it_says():
    assert limits(session(macs="30%"), 8).most == NEAR
    assert limits(session(params="30%"), 8).most == NEAR
    assert limits(session(speedup="2x"), 8).most is None


def test_finer_multiples_are_the_targets_unless_one_was_asked_for():
    target = TrtTarget()
    assert limits(session(target=target), 32).finer == (16, 8)
    assert limits(session(target=target, round=32), 32).finer == ()


@pytest.mark.parametrize(("method", "power"), [("l1", 1), ("l2", 2)])
def test_a_threshold_is_of_norms_and_scores_may_be_squares(method: str, power: int):
    found = limits(session(threshold="0.3", method=method, repair=False), 1)
    assert found.threshold == pytest.approx(0.3**power)


def test_zeros_of_a_pattern_keep_multiples_of_four():
    made = session(sparsity="2:4", target=TrtTarget())
    assert limits(made, 8).finest == GROUP


def test_a_cut_is_checked_on_two_samples_or_on_what_is_baked_in():
    assert len(checked_feeds(session())["x"]) == CHECKED
    fixed = model(
        "g (float[3,32,8,8] x, float[8,32,1,1] w) => (float[3,8,8,8] y) { y = Conv(x, w) }",
        w=[8, 32, 1, 1],
    )
    assert len(checked_feeds(session(made=fixed))["x"]) == 3


# From a base to a smaller graph


def test_units_are_scored_in_batches_of_a_quarter():
    how = shrinking(method="l1", least=0.5)
    assert how.batch == 6
    scoring = how.scoring()
    assert (scoring.method, scoring.batch, scoring.memory, scoring.least) == ("l1", 6, 10**8, 0.5)
    assert replace(how, data=how.data.take(2)).batch == 1
    repair = how.repair({"a": "b"})
    assert (repair.batch, repair.memory, dict(repair.aims)) == (6, 10**8, {"a": "b"})


def test_the_least_worth_goes_until_the_cost_is_down():
    how = shrinking(macs="50%", blocks=False, repair=False)
    base = base_of(how.graph)
    cost = Macs(base.sizes)
    full = cost({})
    found = how.select(base, cost, 0.5 * full, (Weighing(),), whole=full)
    (mask,) = found.allocation.keep.values()
    assert found.allocation.reached
    assert (1 - 0.5 * NEAR) * full <= found.allocation.cost <= 0.5 * full
    kept = int(mask.sum())
    np.testing.assert_array_equal(np.flatnonzero(mask), np.arange(32 - kept, 32))


def test_without_repair_residual_streams_go_where_nothing_else_does():
    how = shrinking(macs="50%", blocks=False, repair=False)
    base = base_of(how.graph)
    cost = Macs(base.sizes)
    full = cost({})
    found = how.select(base, cost, 0.5 * full, WEIGHINGS, whole=full)
    assert found.allocation.reached
    assert np.isinf(WEIGHINGS[0].streams), "the first would leave this graph whole"
    assert not np.isinf(found.weighing.streams)
    assert found.errors == {}
    assert not any("ways to weigh" in notice for notice in found.record.notices)


def keep(*units: int) -> dict[str, np.ndarray]:
    return {"Conv_0": np.isin(np.arange(32), units)}


def test_a_cut_graph_has_fewer_channels_and_the_base_stays():
    how = shrinking()
    base = base_of(how.graph)
    before = serialize(how.graph)
    smaller = how.cut(base, keep(*range(8)))
    assert smaller.graph.initializers["w1"].shape == (8, 32, 3, 3)
    assert serialize(how.graph) == before
    assert how.session.progress.stages[-1] == "cut"


def test_a_cut_that_the_oracle_refuses_is_an_error():
    how = shrinking()
    base = base_of(how.graph)
    (group,) = base.grouping.groups
    members = tuple(
        replace(one, positions=one.positions[::-1]) if one.value == "w3" else one
        for one in group.members
    )
    broken = replace(base.grouping, groups=(replace(group, members=members),))
    with pytest.raises(PruningError, match="differ"):
        how.cut(replace(base, grouping=broken), keep(*range(8)))


def test_what_stays_is_fitted_to_the_outputs_of_the_whole():
    how = shrinking()
    base, kept = base_of(how.graph), keep(*range(16))
    smaller = how.cut(base, kept)
    made, record = how.repaired(base, smaller, kept, how.data, how.repair({}))
    assert {"Conv_2", "Gemm_7"} <= set(record.layers)
    fresh = images(16, 7)
    exact, cut, fitted = (
        open_session(one).run(None, fresh)[0] for one in (how.graph, smaller, made)
    )
    assert np.square(fitted - exact).sum() < 0.5 * np.square(cut - exact).sum()


def test_scores_are_by_the_method_that_was_asked_for():
    how = shrinking(method="l2")
    base = base_of(how.graph)
    found = scores(how.graph, base.grouping, how.data, how.scoring())
    w1 = how.graph.graph.initializers["w1"].const_value
    assert w1 is not None
    assert np.argsort(found["Conv_0"]).shape == (32,)
    assert (found["Conv_0"] > 0).all()
