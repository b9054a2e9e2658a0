"""What the cut changes, and what it leaves alone."""

import numpy as np
import onnx_ir as ir
import pruning_graphs
import pytest

from compressor.errors import PruningError
from compressor.pruning import cut, find_groups


def halved(model):
    grouping = find_groups(model, _feeds(model))
    return cut(model, grouping, {g.name: np.arange(g.units) % 2 == 0 for g in grouping.groups})


def _feeds(model):
    return {
        value.name: np.ones([2, *value.shape.numpy()[1:]] if value.shape.is_static() else
                            [2, *(int(d) for d in list(value.shape)[1:])], np.float32)
        for value in model.graph.inputs
    }  # fmt: skip


def shapes(model: ir.Model):
    return {n: tuple(v.const_value.shape.numpy()) for n, v in model.graph.initializers.items()}


def constants(model, node):
    """The integer constants that the node of that output reads."""
    found = next(n for n in model.graph if n.outputs[0].name == node)
    return [v.const_value.numpy().tolist() for v in found.inputs[1:] if v.const_value is not None]


def test_weights_are_sliced_and_kept_units_stay_in_order():
    model = pruning_graphs.residual()
    pruned = halved(model)
    w2 = model.graph.initializers["w2"].const_value.numpy()
    np.testing.assert_array_equal(pruned.graph.initializers["w2"].const_value.numpy(), w2[::2, ::2])
    assert shapes(pruned)["w0"] == (4, 3, 1, 1)
    assert shapes(pruned)["w4"] == (4, 4)


@pytest.mark.parametrize(
    ("build", "output", "expected"),
    [
        (pruning_graphs.shuffle, "a", [[0, 2, 2, 6, 6]]),
        (pruning_graphs.shuffle, "d", [[-1, 4, 6, 6]]),
        (pruning_graphs.split_slice, "a", [[2, 2]]),
        (pruning_graphs.gathered, "a", [[2, 0]]),
        (pruning_graphs.padded_shortcut, "s1", [[0, 1, 0, 0, 0, 1, 0, 0]]),
        (pruning_graphs.group_norm, "a", [[0, 2, -1]]),
        (pruning_graphs.fused_qkv, "c", [[0, 6, 3, 2, 4]]),
    ],
)
def test_constants_that_count_or_name_positions(build, output, expected):
    assert constants(halved(build()), output) == expected


def test_groups_of_convolutions():
    expected = {
        pruning_graphs.many_groups: [1, 4, 1],
        pruning_graphs.few_groups: [1, 2, 1],
        pruning_graphs.squeeze_excite: [1, 6, 1, 1, 1],
        pruning_graphs.transposed_groups: [1, 2, 1],
    }
    for build, groups in expected.items():
        convolutions = [node for node in halved(build()).graph if "Conv" in node.op_type]
        assert [node.attributes.get_int("group", 1) for node in convolutions] == groups


def test_a_stored_size_among_computed_ones_is_rewritten_for_each_use():
    pruned = halved(pruning_graphs.attention())
    assert constants(pruned, "split") == [[2], [4]]
    assert constants(pruned, "merge") == [[8]]


def test_shared_sizes_and_vectors_are_stored_once_again():
    model = pruning_graphs.attention()
    grouping = find_groups(model, _feeds(model))
    whole = cut(model, grouping, {})
    assert shapes(whole) == shapes(model)
    assert len(whole.graph) == len(model.graph)


def test_the_interface_and_the_original_stay():
    model = pruning_graphs.two_heads()
    before = shapes(model)
    pruned = halved(model)
    for side in ("inputs", "outputs"):
        left, right = getattr(model.graph, side), getattr(pruned.graph, side)
        assert [(v.name, v.shape) for v in left] == [(v.name, v.shape) for v in right]
    assert shapes(model) == before


@pytest.mark.parametrize(
    ("keep", "message"),
    [
        ({"no such group": np.ones(3, bool)}, "no group 'no such group'"),
        ({"MatMul_0": np.ones(3, bool)}, "has 5 units"),
        ({"MatMul_0": np.zeros(5, bool)}, "nothing of axis 1"),
    ],
)
def test_keep_sets_that_do_not_fit(keep, message):
    model = pruning_graphs.mlp()
    with pytest.raises(PruningError, match=message):
        cut(model, find_groups(model), keep)
