"""Residual blocks removed one after the other: what costs least for what it saves goes first."""

import numpy as np
import onnx_ir as ir
import pytest
from pruning_graphs import relu_blocks
from seams import Told

from calibration.dataset import open_dataset
from compressor.graph.session import open_session
from compressor.pruning import block_removal, find_groups
from compressor.pruning.block_removal import BlockRemoval, likeliest
from compressor.pruning.blocks import Block, find_blocks
from compressor.pruning.output_error import output_error
from compressor.pruning.reconstruction.repair import Repair, repair

X = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
FEEDS = {"x": X[:2]}
HOW = Repair(batch=8)


def scaled(**factors: float) -> ir.Model:
    """The blocks, some of whose weights are multiplied."""
    made = relu_blocks()
    for name, factor in factors.items():
        value = made.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(factor), name=name)
    return made


def alike(block: Block) -> float:
    del block
    return 1.0


def removal(made: ir.Model, saved=alike, **options) -> BlockRemoval:
    return BlockRemoval(made, open_dataset({"x": X}), saved, HOW, **options)


def test_the_block_that_matters_least_goes_first_and_repair_helps():
    made = scaled(w4=0.05)
    trace = removal(made)
    one, two = trace.without(1), trace.without(2)
    assert one is not None
    assert two is not None
    assert one.removed == ("Add_10",)
    assert two.removed[:1] == one.removed
    assert 0 < one.error < two.error
    how = Repair(batch=8, aims=two.aims)
    data, grouping = open_dataset({"x": X}), find_groups(made, FEEDS)
    repaired, _ = repair(made, two.model, grouping, {}, data, how)
    expected, before, after = (
        open_session(m).run(None, {"x": X})[0] for m in (made, two.model, repaired)
    )
    assert np.square(after - expected).sum() < 0.5 * np.square(before - expected).sum()


def test_the_trace_is_of_the_graph_itself_and_knows_the_error_after_a_refit():
    made = relu_blocks()
    short = removal(made).without(1)
    assert short is not None
    weights = {n: v for n, v in short.model.graph.initializers.items() if n.startswith("w")}
    for name, value in weights.items():
        assert value.const_value is not None
        known = made.graph.initializers[name].const_value
        assert known is not None
        np.testing.assert_array_equal(value.const_value.numpy(), known.numpy())
    plain = output_error(made, short.model, open_dataset({"x": X}), batch=8)
    assert short.error < plain


def test_what_saves_most_for_its_damage_goes_first_and_what_saves_nothing_stays():
    made = scaled(w2=0.3, w4=0.3, w6=0.3)
    first = removal(made, lambda block: {"a1": 100.0}.get(block.total, 1.0)).without(1)
    assert first is not None
    assert first.removed == ("Add_5",)
    trace = removal(made, lambda block: float(block.total != "a1"))
    assert trace.without(3) is None
    last = trace.without(2)
    assert last is not None
    assert "Add_5" not in last.removed


def test_patterns_of_names_say_what_stays():
    made = relu_blocks()
    second = find_blocks(made, FEEDS)[1]
    trace = removal(made, leave=["w4"])
    assert trace.without(3) is None
    last = trace.without(2)
    assert last is not None
    assert second.add not in last.removed
    assert removal(made, leave=["*"]).without(1) is None


def test_after_the_first_only_those_that_looked_best_are_estimated(monkeypatch):
    monkeypatch.setattr(block_removal, "FRESH", 1)
    totals: list[int | None] = []

    class Counting(Told):
        def stage(self, name, total=None):
            totals.append(total)
            return super().stage(name, total)

    trace = removal(relu_blocks(), progress=Counting())
    assert trace.without(2) is not None
    assert totals == [3, 1]
    assert trace.without(1) is not None
    assert totals == [3, 1], "the trace is made once"


@pytest.mark.parametrize("memory", [10**9, 2**18])
def test_values_of_the_original_that_do_not_fit_are_run_again(memory: int):
    how = Repair(batch=8, memory=memory)
    made, data = relu_blocks(), open_dataset({"x": X})
    errors = [BlockRemoval(made, data, alike, one).without(1) for one in (how, Repair(batch=8))]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[0].error == pytest.approx(errors[1].error, rel=1e-4)
    assert errors[0].removed == errors[1].removed


def test_of_a_deep_graph_the_blocks_that_change_least_are_tried(monkeypatch):
    """Of three blocks the middle one adds nothing, and the last next to nothing."""
    made = scaled(w4=0.0, w6=1e-3)
    found, data = find_blocks(made, FEEDS), open_dataset({"x": X})
    assert likeliest(made, found, data, 4) == list(found), "a shallow graph: all"
    monkeypatch.setattr(block_removal, "WALKED", 0)
    for most, expected in ((1, ["a2"]), (2, ["a2", "a3"])):
        monkeypatch.setattr(block_removal, "FEWEST", most)
        assert [block.total for block in likeliest(made, found, data, 4)] == expected
