"""Where a network can be left."""

import numpy as np
import pruning_graphs
import quantized
from graphs import model

from compressor.exits.cuts import find_cuts, why_not_branched
from compressor.graph.shapes import infer_shapes

TWO = np.zeros((2, 3, 8, 8), np.float32)


def test_blocks_end_where_one_value_goes_on() -> None:
    (found,) = find_cuts(infer_shapes(pruning_graphs.residual()), {"x": TWO})
    assert (found.value, found.channels_last) == ("s1", False)  # a skip goes past all others
    assert (found.grid, found.features) == (4, 8 * 4 * 4)
    assert 0.7 < found.share < 0.9


def test_the_last_float_value_behind_a_layer_is_taken() -> None:
    body = f"""{quantized.conv("x", "c")}
        a = Relu(c)
        {quantized.conv("a", "y", "e")}"""
    text = quantized.images(body)
    (found,) = find_cuts(quantized.graph(text), {"x": np.zeros((1, 32, 8, 8), np.float32)})
    assert found.value == "a"
    assert found.share == 0.5


def test_masks_may_go_on_beside_tokens() -> None:
    made = model(
        """g (float[n,5,8] x, float[n,5,1] mask, float[8,8] w0, float[8,8] w1, float[8,3] w2)
              => (float[n,3] y)
        {
            m0 = MatMul(x, w0)
            h0 = Mul(m0, mask)
            m1 = MatMul(h0, w1)
            h1 = Mul(m1, mask)
            p = ReduceMean<keepdims=0, noop_with_empty_axes=0>(h1, axes)
            y = MatMul(p, w2)
        }""".replace("p = ", "axes = Constant<value_ints=[1]>()\n p = "),
        w0=[8, 8], w1=[8, 8], w2=[8, 3],
    )  # fmt: skip
    feeds = {"x": np.zeros((2, 5, 8), np.float32), "mask": np.ones((2, 5, 1), np.float32)}
    found = find_cuts(infer_shapes(made), feeds)
    assert [one.value for one in found] == ["h0"]  # behind h1 nothing is left to save
    assert found[0].channels_last
    assert found[0].features == 8


def test_a_second_output_has_no_exit() -> None:
    made = pruning_graphs.residual()
    made.graph.outputs.append(made.graph[4].outputs[0])
    assert why_not_branched(pruning_graphs.residual()) is None
    assert why_not_branched(made) == "an exit answers one output, and the graph has 2"
