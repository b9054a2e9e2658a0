"""Whole residual blocks: found where they are, and removable."""

import numpy as np
import onnx_ir as ir
from graphs import model

from calibration.dataset import open_dataset
from compressor.graph.session import open_session
from compressor.pruning import blocks, find_groups
from compressor.pruning.blocks import Shortened, find_blocks, likeliest, shorten, without
from compressor.pruning.reconstruction.repair import Repair, repair

WEIGHTS = {
    "w0": [8, 3, 3, 3],
    **{f"w{i}": [8, 8, 3, 3] for i in range(1, 7)},
    "p": [12, 8, 1, 1],
    "q": [12, 8, 3, 3],
    "f": [12, 5],
}


def net() -> ir.Model:
    made = model(
        """g (float[n,3,8,8] x, float[8,3,3,3] w0, float[8,8,3,3] w1, float[8,8,3,3] w2,
              float[8,8,3,3] w3, float[8,8,3,3] w4, float[8,8,3,3] w5, float[8,8,3,3] w6,
              float[12,8,1,1] p, float[12,8,3,3] q, float[12,5] f, int64[2] axes) => (float[n,5] y)
        {
            s = Conv<pads=[1,1,1,1]>(x, w0)
            r0 = Relu(s)
            c1 = Conv<pads=[1,1,1,1]>(r0, w1)
            h1 = Relu(c1)
            o1 = Conv<pads=[1,1,1,1]>(h1, w2)
            a1 = Add(o1, r0)
            r1 = Relu(a1)
            c2 = Conv<pads=[1,1,1,1]>(r1, w3)
            h2 = Relu(c2)
            o2 = Conv<pads=[1,1,1,1]>(h2, w4)
            a2 = Add(r1, o2)
            r2 = Relu(a2)
            c3 = Conv<pads=[1,1,1,1]>(r2, w5)
            h3 = Relu(c3)
            o3 = Conv<pads=[1,1,1,1]>(h3, w6)
            a3 = Add(o3, r2)
            r3 = Relu(a3)
            d = Conv(r3, p)
            e = Conv<pads=[1,1,1,1]>(r3, q)
            a4 = Add(d, e)
            r4 = Relu(a4)
            g = ReduceMean<keepdims=0>(r4, axes)
            y = MatMul(g, f)
        }""",
        **WEIGHTS,
    )
    axes = next(v for v in made.graph.inputs if v.name == "axes")
    made.graph.inputs.remove(axes)
    axes.const_value = ir.tensor(np.array([2, 3]), name="axes")
    made.graph.register_initializer(axes)
    return made


X = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
FEEDS = {"x": X[:2]}


def test_blocks_are_where_one_side_is_the_input():
    found = find_blocks(net(), FEEDS)
    assert [block.total for block in found] == ["a1", "a2", "a3"]
    assert [block.skip for block in found] == ["r0", "r1", "r2"]
    assert [block.before for block in found] == ["s", "a1", "a2"]


def test_a_block_that_adds_nothing_is_removed_exactly():
    made = net()
    value = made.graph.initializers["w4"]
    value.const_value = ir.tensor(np.zeros((8, 8, 3, 3), np.float32), name="w4")
    second = find_blocks(made, FEEDS)[1]
    short = without(Shortened(made), second)
    assert len(list(short.model.graph)) == len(list(made.graph)) - 5
    assert short.aims == {"a1": "a2"}
    expected, found = (open_session(m).run(None, {"x": X})[0] for m in (made, short.model))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_gaps_side_by_side_aim_behind_both():
    made = net()
    _, second, third = find_blocks(made, FEEDS)
    later_first = without(without(Shortened(made), third), second)
    assert later_first.aims == {"a1": "a3"}
    once = without(Shortened(made), second)
    again = next(b for b in find_blocks(once.model, FEEDS) if b.total == "a3")
    assert without(once, again).aims == {"a1": "a3"}


def test_a_block_stays_where_a_pattern_names_what_would_go_with_it():
    made = net()
    first, second, third = find_blocks(made, FEEDS)
    assert second.is_left(["w4"])
    assert second.is_left(["nothing", second.add])
    assert not first.is_left(["w4"])
    assert not third.is_left(["w4"])
    assert not second.is_left(["r1", "x"])  # its input stays in any case
    data, grouping = open_dataset({"x": X}), find_groups(made, FEEDS)
    without_it = shorten(made, grouping, data, 3, Repair(batch=8), leave=["w4"])
    assert [short.removed[-1] for short in without_it].count(second.add) == 0
    assert len(without_it) == 2
    assert shorten(made, grouping, data, 1, Repair(batch=8), leave=["*"]) == ()


def test_the_block_that_matters_least_goes_first_and_repair_helps():
    made = net()
    small = made.graph.initializers["w4"]
    small.const_value = ir.tensor(0.05 * small.const_value.numpy(), name="w4")
    data, grouping = open_dataset({"x": X}), find_groups(made, FEEDS)
    one, two = shorten(made, grouping, data, 2, Repair(batch=8))
    assert one.removed == ("Add_10",)
    assert len(two.removed) == 2
    assert one.error < two.error
    how = Repair(batch=8, aims=two.aims)
    repaired, _ = repair(made, two.model, grouping, {}, data, how)
    expected, before, after = (
        open_session(m).run(None, {"x": X})[0] for m in (made, two.model, repaired)
    )
    assert np.square(after - expected).sum() < 0.5 * np.square(before - expected).sum()


def test_of_a_deep_graph_the_blocks_that_change_least_are_tried(monkeypatch):
    """Of three blocks the middle one adds nothing, and the last next to nothing."""
    made = net()
    for name, factor in (("w4", 0.0), ("w6", 1e-3)):
        value = made.graph.initializers[name]
        array = value.const_value.numpy() * np.float32(factor)
        value.const_value = ir.tensor(array, name=name)
    found, data = find_blocks(made, FEEDS), open_dataset({"x": X})
    assert likeliest(made, found, data, 4) == list(found), "a shallow graph: all"
    monkeypatch.setattr(blocks, "WALKED", 0)
    for most, expected in ((1, ["a2"]), (2, ["a2", "a3"])):
        monkeypatch.setattr(blocks, "FEWEST", most)
        assert [block.total for block in likeliest(made, found, data, 4)] == expected
