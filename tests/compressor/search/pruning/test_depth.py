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
from compressor.recipe.recipe import PruneOptions, Recipe
from compressor.results.records import StageRecord
from compressor.search.pruning.depth import BLOCKS, shortest
from compressor.search.pruning.steps import Base, Shrinking, grouped

X = np.random.default_rng(0).standard_normal((12, 4, 4, 4)).astype(np.float32)


def run(
    made: ir.Model, share: float, **prune: Any
) -> tuple[Base, Base, StageRecord | None, Shrinking]:
    """The whole graph, the base that loses least at such a share of the cost, and its record."""
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
    before = serialize(how.graph)
    best, record = shortest(how, whole, Macs, share * Macs(whole.sizes)({}))
    assert serialize(how.graph) == before, "what a repair aims at stays as it is"
    return whole, best, record, how


def test_a_block_that_does_nothing_goes_before_channels_do():
    whole, best, record, _ = run(residual_blocks(1.0, 1e-4), 0.6)
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
    assert best.blocks == 0
    assert record is not None
    told = {one.subject: one.verdict for one in record.decisions}
    assert told["0 blocks"] == "chosen"


def test_without_blocks_there_is_nothing_to_compare():
    whole, best, record, how = run(residual_blocks(), 0.7)
    assert best is whole
    assert record is None
    assert "cut" not in how.session.progress.stages


def test_what_has_to_stay_is_not_removed():
    _, best, record, _ = run(residual_blocks(1e-4, 1e-4), 0.6, leave=("Add_*",))
    assert (best.blocks, record) == (0, None)


@pytest.mark.parametrize(("share", "most"), [(0.95, 1), (0.3, BLOCKS)])
def test_no_more_are_tried_than_lead_to_the_target(share: float, most: int):
    silent = residual_blocks(1e-4, 1e-4, 1e-4)
    _, best, record, _ = run(silent, share, macs=None, speedup="2x")
    assert record is not None
    assert len(record.decisions) == 1 + most
    assert best.blocks <= most


def test_a_share_is_not_exceeded_by_a_block():
    _, best, record, _ = run(residual_blocks(1e-4), 0.95, macs="5%")
    assert (best.blocks, record) == (0, None)
