"""Any keep-set: the smaller graph equals the original with the dropped contributions zeroed."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pruning_graphs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import PruningError
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.pruning import check, cut, find_groups, masked

BUILDERS = {
    name: (build, units)
    for name, build, units in (
        ("plain CNN", pruning_graphs.plain, [8, 12]),
        ("residual", pruning_graphs.residual, [8, 16]),
        ("concatenation", pruning_graphs.dense, [6, 4, 4]),
        ("squeeze and excite", pruning_graphs.squeeze_excite, [12, 3]),
        ("many small groups of a convolution", pruning_graphs.many_groups, [8]),
        ("few large groups of a convolution", pruning_graphs.few_groups, [6, 5]),
        ("channel shuffle", pruning_graphs.shuffle, [4]),
        ("U-Net", pruning_graphs.unet, [6, 8]),
        ("grouped transposed convolution", pruning_graphs.transposed_groups, [4]),
        ("pixel shuffle", pruning_graphs.pixel_shuffle, [3, 4]),
        ("attention", pruning_graphs.attention, [4, 20]),
        ("grouped-query attention", pruning_graphs.grouped_query, [2]),
        ("fused projections", pruning_graphs.fused_qkv, [4]),
        ("sliced apart", lambda: pruning_graphs.fused_qkv(pruning_graphs.SLICED), [4]),
        ("split apart", lambda: pruning_graphs.fused_qkv(pruning_graphs.SPLIT), [4]),
        ("heads beside the batch", pruning_graphs.heads_beside_batch, [4]),
        ("shared weights", pruning_graphs.siamese, [6]),
        ("two heads", pruning_graphs.two_heads, [8]),
        ("padded shortcut", pruning_graphs.padded_shortcut, [4, 4]),
        ("normalized in groups", pruning_graphs.group_norm, [4]),
        ("split and sliced", pruning_graphs.split_slice, [2, 2, 4]),
        ("gathered", pruning_graphs.gathered, [4]),
        ("scattered", pruning_graphs.scattered, [6]),
        ("sums of products", pruning_graphs.einsum, [6]),
    )
}


def keep_of(grouping, share, seed):
    rng = np.random.default_rng(seed)
    keep = {}
    for group in grouping.groups:
        kept = rng.random(group.units) >= share
        kept[rng.integers(group.units)] = True
        keep[group.name] = kept
    return keep


def feeds_of(model, batch, seed=0):
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.standard_normal([batch, *spec.shape[1:]]).astype(np.float32)
        for spec in input_specs(model)
    }


@pytest.mark.parametrize("name", BUILDERS)
def test_groups_are_found(name):
    build, units = BUILDERS[name]
    model = build()
    grouping = find_groups(model, feeds_of(model, 2))
    assert [group.units for group in grouping.groups] == units
    assert not grouping.unknown
    for group in grouping.groups:
        assert all(member.positions.shape[0] == group.units for member in group.members)


@pytest.mark.parametrize("name", BUILDERS)
@settings(max_examples=6, deadline=None)
@given(share=st.floats(0.1, 0.9), seed=st.integers(0, 2**16))
def test_any_keep_set(name, share, seed):
    model = BUILDERS[name][0]()
    grouping = find_groups(model, feeds_of(model, 2))
    keep = keep_of(grouping, share, seed)
    check(model, grouping, keep, feeds_of(model, 3, seed))


@pytest.mark.parametrize("name", BUILDERS)
def test_smaller_and_runs_at_any_batch(name):
    model = BUILDERS[name][0]()
    before = {value.name: value.const_value for value in model.graph.initializers.values()}
    grouping = find_groups(model, feeds_of(model, 2))
    keep = {group.name: np.arange(group.units) > 0 for group in grouping.groups}
    pruned = cut(model, grouping, keep)
    for batch in (1, 4):
        open_session(pruned).run(None, feeds_of(model, batch))
    assert _elements(pruned) < _elements(model)
    assert {node.name for node in pruned.graph} >= {node.name for node in model.graph}
    assert all(value.const_value is before[name] for name, value in _initializers(model))


def test_masking_nothing_changes_nothing():
    model = pruning_graphs.residual()
    grouping = find_groups(model, feeds_of(model, 2))
    whole = {group.name: np.ones(group.units, bool) for group in grouping.groups}
    assert len(masked(model, grouping, whole).graph) == len(model.graph)
    feeds = feeds_of(model, 2)
    expected = open_session(model).run(None, feeds)
    found = open_session(cut(model, grouping, whole)).run(None, feeds)
    np.testing.assert_array_equal(found[0], expected[0])


def test_masking_zeroes_what_is_dropped():
    """Against numpy, so that the oracle's own reference is known to be right."""
    model = pruning_graphs.mlp()
    grouping = find_groups(model, feeds_of(model, 2))
    keep = {grouping.groups[0].name: np.array([True, False, True, False, True])}
    feeds = feeds_of(model, 3)
    a, b = (model.graph.initializers[n].const_value.numpy() for n in ("a", "b"))
    hidden = np.maximum(feeds["x"] @ a, 0) * keep[grouping.groups[0].name]
    (found,) = open_session(masked(model, grouping, keep)).run(None, feeds)
    np.testing.assert_allclose(found, hidden @ b, rtol=1e-5, atol=1e-6)


def test_a_wrong_grouping_is_caught_at_the_node():
    model = pruning_graphs.residual()
    feeds = feeds_of(model, 2)
    grouping = find_groups(model, feeds)
    group = grouping.groups[0]
    wrong = tuple(
        replace(m, positions=m.positions[::-1].copy()) if m.value == "w3" else m
        for m in group.members
    )
    broken = replace(grouping, groups=(replace(group, members=wrong),))
    kept = np.ones(group.units, bool)
    kept[:3] = False
    with pytest.raises(PruningError, match="node 'second'"):
        check(model, broken, {group.name: kept}, feeds)


def test_a_norm_that_was_forgotten_is_caught():
    """A softmax over what is dropped has another sum."""
    model = pruning_graphs.hidden_softmax()
    feeds = feeds_of(model, 2)
    assert not find_groups(model, feeds).groups
    without = pruning_graphs.mlp()
    grouping = find_groups(without, feeds)
    kept = {grouping.groups[0].name: np.arange(5) > 1}
    with pytest.raises(PruningError, match="Softmax"):
        check(model, grouping, kept, feeds)


def _initializers(model: ir.Model):
    return model.graph.initializers.items()


def _elements(model: ir.Model) -> int:
    return sum(value.const_value.size for _, value in _initializers(model))


def test_a_mask_is_of_the_type_of_what_it_is_laid_over():
    made = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["" : 18]>
        g (float16[n,4] x, float16[4,6] a, float16[6,3] b) => (float16[n,3] y) {
            h = MatMul(x, a)
            r = Relu(h)
            y = MatMul(r, b)
        }"""
    )
    rng = np.random.default_rng(0)
    for name, shape in (("a", (4, 6)), ("b", (6, 3))):
        value = next(value for value in made.graph.inputs if value.name == name)
        made.graph.inputs.remove(value)
        value.const_value = ir.tensor(rng.standard_normal(shape).astype(np.float16), name=name)
        made.graph.register_initializer(value)
    feeds = {"x": rng.standard_normal((2, 4)).astype(np.float16)}
    grouping = find_groups(made, feeds)
    (group,) = grouping.groups
    check(made, grouping, {group.name: np.arange(6) < 4}, feeds)
