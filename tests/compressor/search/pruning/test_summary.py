"""What was removed, and what became of the layers around it."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual
from seams import images

from compressor.plan.decisions import PrunePlan
from compressor.pruning import Grouping, cut, find_groups
from compressor.pruning.selection.allocation import Allocation
from compressor.results.pruning import LayerRepair, LayerVerdict
from compressor.search.pruning.pruner import Pruned
from compressor.search.pruning.summary import CostKind, planned, removed

KEPT = tuple(range(0, 32, 2))
REPAIRS = {
    "Conv_0": LayerRepair(verdict=LayerVerdict.LEFT_ALONE, reason="nothing to repair"),
    "Conv_2": LayerRepair(
        verdict=LayerVerdict.REPAIRED, error_before=0.4, error_after=0.1, seconds=2.0, bytes=9e6
    ),
    "Gemm_7": LayerRepair(
        verdict=LayerVerdict.LEFT_ALONE,
        error_before=0.2,
        error_after=0.3,
        reason="it would not help",
    ),
}


@pytest.fixture(scope="module")
def grouping() -> Grouping:
    return find_groups(residual(), images(2, 0))


def half(grouping: Grouping) -> ir.Model:
    return cut(residual(), grouping, {"Conv_0": np.isin(np.arange(32), KEPT)})


def pruned(grouping: Grouping, repairs: dict[str, LayerRepair], *, kept: bool = True) -> Pruned:
    masks = {"Conv_0": np.isin(np.arange(32), KEPT)} if kept else {}
    allocation = Allocation(masks, {}, 0.004, True)
    return Pruned(
        half(grouping), PrunePlan(kept={"Conv_0": KEPT} if kept else {}, blocks=("Add_9",)),
        grouping, allocation, 0.004, True, "obs", damage={"Conv_0": 0.7}, repairs=repairs,
    )  # fmt: skip


def test_a_group_tells_units_weights_damage_and_the_errors_of_what_reads_it(grouping: Grouping):
    found = removed(pruned(grouping, REPAIRS), "macs", 0.5)
    assert (found.cost, found.share, found.method, found.blocks) == ("macs", 0.5, "obs", ("Add_9",))
    (group,) = found.groups
    assert (group.name, group.units_before, group.units_after) == ("Conv_0", 32, 16)
    assert set(group.weights) == {"w1", "b1", "w2", "b2", "w3"}
    assert group.damage == 0.7
    assert group.error_before == pytest.approx(0.6), "of the layers that contract it"
    assert group.error_after == pytest.approx(0.3), "a fit that does not help is not kept"


def test_layers_tell_what_their_repair_came_to(grouping: Grouping):
    layers = {one.node: one for one in removed(pruned(grouping, REPAIRS), "macs", 0.5).layers}
    assert {name: one.repaired for name, one in layers.items()} == {
        "Conv_0": False,
        "Conv_2": True,
        "Gemm_7": False,
    }
    assert (layers["Conv_2"].seconds, layers["Conv_2"].memory_bytes) == (2.0, 9_000_000)
    assert layers["Conv_0"].reason == "nothing to repair"
    assert layers["Conv_0"].memory_bytes is None


@pytest.mark.parametrize(("cost", "ms"), [("latency", 4.0), ("macs", None), ("params", None)])
def test_only_a_latency_predicts_milliseconds(grouping: Grouping, cost: CostKind, ms: float | None):
    found = removed(pruned(grouping, REPAIRS), cost, 0.5)
    assert found.predicted_ms == (None if ms is None else pytest.approx(ms))


def test_without_repair_there_are_no_errors(grouping: Grouping):
    found = removed(pruned(grouping, {}), "macs", 0.5)
    (group,) = found.groups
    assert (group.error_before, group.error_after, found.layers) == (None, None, ())


def test_groups_that_stay_whole_are_left_out(grouping: Grouping):
    assert removed(pruned(grouping, REPAIRS, kept=False), "macs", 0.1).groups == ()


def test_of_a_replayed_plan_only_what_went_is_known(grouping: Grouping):
    plan = PrunePlan(kept={"Conv_0": KEPT}, blocks=("Add_9",))
    found = planned(plan, grouping, half(grouping))
    (group,) = found.groups
    assert (group.units_before, group.units_after, group.damage) == (32, 16, None)
    assert set(group.weights) == {"w1", "b1", "w2", "b2", "w3"}
    assert (found.blocks, found.cost, found.method, found.layers) == (("Add_9",), None, None, ())
