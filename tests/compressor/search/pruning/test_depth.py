"""Whole blocks go where the outputs after repair lose least by that."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from pruning_graphs import residual_blocks
from seams import Clock, Told, session_of

from compressor.graph.files import serialize
from compressor.pruning.blocks import Shortened
from compressor.pruning.selection.costs import Macs
from compressor.pruning.selection.select import WEIGHINGS
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.recipe import Recipe
from compressor.results.records import StageRecord
from compressor.search.pruning.depth import Depth, Tried
from compressor.search.pruning.steps import Base, Shrinking, grouped

X = np.random.default_rng(0).standard_normal((12, 4, 4, 4)).astype(np.float32)


def depth_of(made: ir.Model, **prune: Any) -> tuple[Depth, Base, Shrinking]:
    """The choice for a graph, the whole graph, and what shrinks it."""
    options = PruneOptions(**({"macs": "30%", "method": "l2"} | prune))
    session = session_of(
        made, Recipe(prune=options), Clock(), calibration={"x": X}, progress=Told()
    )
    data = session.prepared.calibration
    assert data is not None
    how = Shrinking(session, session.prepared.model, data, 1)
    found = grouped(session, how.graph, len(data))
    scores = {group.name: np.ones(group.units) for group in found.grouping.groups}
    whole = Base(Shortened(how.graph), found.grouping, found.sizes, scores)
    return Depth(how, whole, Macs, WEIGHINGS), whole, how


def run(
    made: ir.Model, share: float, **prune: Any
) -> tuple[Base, Tried, StageRecord | None, Shrinking]:
    """The whole graph, what loses least at such a share of the cost, and its record."""
    depth, whole, how = depth_of(made, **prune)
    before = serialize(how.graph)
    best, record = depth.tried(Macs, share * Macs(whole.sizes)({}))
    assert serialize(how.graph) == before, "what a repair aims at stays as it is"
    return whole, best, record, how


def test_a_block_that_does_nothing_goes_before_channels_do():
    whole, found, record, _ = run(residual_blocks(1.0, 1e-4), 0.6)
    best = found.base
    assert best.short.removed == ("Add_6",)
    assert best.blocks == 1
    assert record is not None
    assert (record.name, record.changed) == ("choose blocks", {"blocks removed": 1})
    told = {one.subject: one.verdict for one in record.decisions}
    assert told == {"0 blocks": "not chosen", "1 blocks": "chosen"}
    assert "of their variance on samples held out" in record.decisions[0].reason
    assert Macs(best.sizes)({}) < Macs(whole.sizes)({})
    assert best.scores, "of the whole: they serve the groups that are still there"
    for name, units in best.scores.items():
        assert units is whole.scores[name]
    assert set(best.scores) <= {group.name for group in best.grouping.groups}


def test_where_every_block_counts_none_goes():
    _, best, record, _ = run(residual_blocks(3.0), 0.9, macs=None, speedup="2x")
    assert best.base.blocks == 0
    assert record is not None
    told = {one.subject: one.verdict for one in record.decisions}
    assert told["0 blocks"] == "chosen"


def test_without_blocks_there_is_nothing_to_compare():
    whole, best, record, how = run(residual_blocks(), 0.7)
    assert best.base is whole
    assert record is None
    assert "remove a block" not in how.session.progress.stages


def test_what_has_to_stay_is_not_removed():
    _, best, record, _ = run(residual_blocks(1e-4, 1e-4), 0.6, leave=("Add_*",))
    assert (best.base.blocks, record) == (0, None)


@pytest.mark.parametrize(("share", "most"), [(0.95, 1), (0.55, 2), (0.3, 3)])
def test_no_more_are_tried_than_lead_to_the_target(share: float, most: int):
    silent = residual_blocks(1e-4, 1e-4, 1e-4)
    _, best, record, _ = run(silent, share, macs=None, speedup="2x")
    assert record is not None
    assert record.decisions[-1].subject == f"{most} blocks"
    assert best.base.blocks <= most


def test_a_share_is_not_exceeded_by_a_block():
    _, best, record, _ = run(residual_blocks(1e-4), 0.95, macs="5%")
    assert (best.base.blocks, record) == (0, None)


def test_out_of_reach_what_is_nearest_is_taken_and_not_what_has_no_blocks():
    """Removing all that may go does not reach the target with any number of blocks."""
    _, best, record, _ = run(residual_blocks(1.0, 1e-4), 0.01, macs=None, speedup="9x", least=0.5)
    assert not best.selection.allocation.reached
    assert best.base.blocks > 0
    assert record is not None
    assert all("not reached" in one.reason for one in record.decisions)


def test_the_choice_loses_to_neither_channels_nor_blocks_alone():
    depth, whole, _ = depth_of(residual_blocks(1.0, 0.3, 0.5), macs=None, speedup="2x")
    target = 0.6 * Macs(whole.sizes)({})
    best, record = depth.tried(Macs, target)
    assert record is not None
    errors = [float(one.reason.split("differ by ")[1].split()[0]) for one in record.decisions]
    assert best.selection.allocation.reached
    assert best.error <= min(errors) * 1.01


def test_a_target_near_by_keeps_the_choice():
    depth, whole, _ = depth_of(residual_blocks(1.0, 1e-4), macs=None, speedup="2x")
    full = Macs(whole.sizes)({})
    first, _ = depth.tried(Macs, 0.6 * full)
    decided = {0.6 * full: first}
    near = depth.like(decided, Macs, 0.55 * full)
    assert near is not None
    assert near.base is first.base
    assert near.selection.weighing == first.selection.weighing
    assert near.selection.allocation.cost <= 0.55 * full
    assert depth.like(decided, Macs, 0.3 * full) is None
    assert depth.like({}, Macs, 0.6 * full) is None
