"""What is decided for a folded graph, told in the parameters of the unfolded one."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.errors import PruningError
from compressor.folding import equal_outputs, fold, tidied
from compressor.pruning import cut, find_groups
from compressor.pruning.sources import carried_over, slices_of
from compressor.pruning.unfolding import homes_of

FEEDS = {"x": np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)}


def unfolded() -> ir.Model:
    """Conv and BatchNorm twice, the second Conv with a bias of zeros that the graph computes."""
    return model(
        """g (float[n,3,6,6] x, float[8,3,3,3] w1, float[8] b1, float[8] s, float[8] t,
              float[8] m, float[8] v, float[6,8,1,1] w2, float[6] s2, float[6] t2, float[6] m2,
              float[6] v2, float[6,5] w3) => (float[n,5] y)
        <float zero = {0}, int64[1] six = {6}>
        {
            c1 = Conv(x, w1, b1)
            k1 = BatchNormalization(c1, s, t, m, v)
            r1 = Relu(k1)
            none = Expand(zero, six)
            c2 = Conv(r1, w2, none)
            k2 = BatchNormalization(c2, s2, t2, m2, v2)
            r2 = Relu(k2)
            p = ReduceMean<keepdims=0>(r2, axes)
            y = MatMul(p, w3)
        }""".replace("<float zero", "<int64[2] axes = {2, 3}, float zero"),
        w1=[8, 3, 3, 3], b1=[8], s=[8], t=[8], m=[8], v=[8], w2=[6, 8, 1, 1], s2=[6], t2=[6],
        m2=[6], v2=[6], w3=[6, 5],
    )  # fmt: skip


@pytest.fixture(scope="module")
def forms() -> tuple[ir.Model, ir.Model, ir.Model]:
    """As captured, tidied and folded."""
    captured = unfolded()
    for name in ("v", "v2"):
        value = captured.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(np.abs(value.const_value.numpy()) + 0.5, name=name)
    return captured, tidied(captured), fold(captured, feeds=FEEDS)[0]


def test_tidying_leaves_weights_alone_and_removes_computed_biases_of_zeros(forms):
    captured, plain, _ = forms
    assert [n.op_type for n in plain.graph if n.op_type in ("Conv", "BatchNormalization")] == [
        "Conv", "BatchNormalization", "Conv", "BatchNormalization"
    ]  # fmt: skip
    assert "Expand" not in {node.op_type for node in plain.graph}
    assert [len(n.inputs) for n in plain.graph if n.op_type == "Conv"] == [3, 2]
    weights = ("w1", "b1", "s", "t", "m", "v", "w2", "s2", "w3")
    for name in weights:
        one, other = (m.graph.initializers[name].const_value for m in (captured, plain))
        assert one is not None
        assert other is not None
        assert np.array_equal(one.numpy(), other.numpy())
    assert [value.name for value in plain.graph.inputs] == ["x"]
    assert equal_outputs(captured, plain, FEEDS, 1e-6, 1e-6).equal


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_keep_set_means_the_same_in_both_forms(forms, data):
    captured, plain, folded = forms
    here, there = find_groups(folded, FEEDS), find_groups(plain, FEEDS)
    assert [group.units for group in here.groups] == [8, 6]
    keep = {}
    for group in here.groups:
        size = group.units
        some = st.lists(st.booleans(), min_size=size, max_size=size).filter(any)
        keep[group.name] = np.array(data.draw(some))
    again = carried_over(keep, here, there)
    assert equal_outputs(cut(folded, here, keep), cut(plain, there, again), FEEDS, 1e-4).equal
    slices = slices_of(captured, there, again)
    wide, narrow = (np.flatnonzero(mask).tolist() for mask in keep.values())
    if len(wide) < 8:
        assert {list(slices[name][0]) == wide for name in ("w1", "b1", "s", "t", "m", "v")} == {
            True
        }
        assert list(slices["w2"][1]) == wide
    if len(narrow) < 6:
        assert list(slices["w2"][0]) == list(slices["v2"][0]) == list(slices["w3"][0]) == narrow


def test_a_form_that_couples_otherwise_is_refused(forms):
    _, _, folded = forms
    here = find_groups(folded, FEEDS)
    keep = {here.groups[0].name: np.arange(8) < 4}
    frozen = unfolded()
    frozen.graph.outputs.append(next(v for n in frozen.graph for v in n.outputs if v.name == "r1"))
    with pytest.raises(PruningError, match="not coupled alike in the captured graph"):
        carried_over(keep, here, find_groups(tidied(frozen), FEEDS))


def test_homes_are_what_folding_folded_and_nothing_else(forms):
    captured, plain, folded = forms
    homes = homes_of(plain, folded, captured.graph.initializers.keys())
    found = [(h.weight, h.bias, h.norm and h.norm.mean, h.axis) for h in homes.values()]
    assert found == [("w1", "b1", "m", 0), ("w2", None, "m2", 0), ("w3", None, None, 1)]
    changed = folded.clone()
    weight = next(iter(changed.graph)).inputs[1]
    assert weight is not None
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy() * 1.01, name=weight.name)
    left = homes_of(plain, changed, captured.graph.initializers.keys())
    assert [home.weight for home in left.values()] == ["w2", "w3"]
    constants = captured.graph.initializers.keys() - {"s2"}
    assert [home.weight for home in homes_of(plain, folded, constants).values()] == ["w1", "w3"]
