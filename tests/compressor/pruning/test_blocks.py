"""Whole residual blocks: found where they are, and removable."""

import numpy as np
import onnx_ir as ir
from pruning_graphs import relu_blocks

from compressor.graph.session import open_session
from compressor.pruning.blocks import Shortened, find_blocks, without

X = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
FEEDS = {"x": X[:2]}


def test_blocks_are_where_one_side_is_the_input():
    found = find_blocks(relu_blocks(), FEEDS)
    assert [block.total for block in found] == ["a1", "a2", "a3"]
    assert [block.skip for block in found] == ["r0", "r1", "r2"]
    assert [block.before for block in found] == ["s", "a1", "a2"]


def test_a_block_that_adds_nothing_is_removed_exactly():
    made = relu_blocks()
    value = made.graph.initializers["w4"]
    value.const_value = ir.tensor(np.zeros((8, 8, 3, 3), np.float32), name="w4")
    second = find_blocks(made, FEEDS)[1]
    short = without(Shortened(made), second)
    assert len(list(short.model.graph)) == len(list(made.graph)) - 5
    assert short.aims == {"a1": "a2"}
    expected, found = (open_session(m).run(None, {"x": X})[0] for m in (made, short.model))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_gaps_side_by_side_aim_behind_both():
    made = relu_blocks()
    _, second, third = find_blocks(made, FEEDS)
    later_first = without(without(Shortened(made), third), second)
    assert later_first.aims == {"a1": "a3"}
    once = without(Shortened(made), second)
    again = next(b for b in find_blocks(once.model, FEEDS) if b.total == "a3")
    assert without(once, again).aims == {"a1": "a3"}


def test_a_block_stays_where_a_pattern_names_what_would_go_with_it():
    made = relu_blocks()
    first, second, third = find_blocks(made, FEEDS)
    assert second.is_left(["w4"])
    assert second.is_left(["nothing", second.add])
    assert not first.is_left(["w4"])
    assert not third.is_left(["w4"])
    assert not second.is_left(["r1", "x"])  # its input stays in any case
