"""Operator by operator: what is coupled, and what stays because of which node."""

import numpy as np
import pytest
from graphs import model

from compressor.pruning import find_groups


def found(middle, channels=6, width=None, seed=0, declared=""):
    """Groups and causes of `middle`, between a convolution that makes c and one that reads d."""
    made = model(
        f"""g (float[n,3,4,4] x, float[{channels},3,1,1] w0, float[2,{width or channels},1,1] w1)
            => (float[n,2,h,v] y)
        {declared}
        {{
            c = Conv(x, w0)
            {middle}
            y = Conv(d, w1)
        }}""",
        seed,
        w0=[channels, 3, 1, 1],
        w1=[2, width or channels, 1, 1],
    )
    rng = np.random.default_rng(seed)
    grouping = find_groups(made, {"x": rng.standard_normal((2, 3, 4, 4)).astype(np.float32)})
    return grouping, [group.units for group in grouping.groups]


@pytest.mark.parametrize(
    ("middle", "width"),
    [
        ("d = Relu(c)", 6),
        ("d = AveragePool<kernel_shape=[2,2]>(c)", 6),
        ("d = GlobalMaxPool(c)", 6),
        ("e = Transpose<perm=[0,2,3,1]>(c)  d = Transpose<perm=[0,3,1,2]>(e)", 6),
        ("d = Softmax<axis=2>(c)", 6),
        ("d = ReduceMean<keepdims=1>(c, space)", 6),
        ("d = SpaceToDepth<blocksize=2>(c)", 24),
        ("e = Concat<axis=1>(c, c)  d = Relu(e)", 12),
        ("d = Tile(c, twice)", 12),
        ("d = Slice(c, zero, three, one)", 3),
        ("d = Pad<mode=\"reflect\">(c, around)", 6),
        ("d = Cast<to=1>(c)", 6),
        ("d, i = TopK<axis=2>(c, three)", 6),
        ("e = Transpose<perm=[2,1,0,3]>(c)  f = GatherND(e, at)"
         "  d = Transpose<perm=[2,1,0,3]>(f)", 6),
        ("q = QuantizeLinear<axis=1>(c, s)  d = DequantizeLinear<axis=1>(q, s)", 6),
    ],
)  # fmt: skip
def test_channels_pass(middle, width):
    declared = """<int64[2] space = {2, 3}, int64[4] twice = {1, 2, 1, 1}, int64[1] zero = {0},
        int64[1] three = {3}, int64[1] one = {1}, int64[8] around = {0, 0, 1, 1, 0, 0, 1, 1},
        float[6] s = {1, 1, 1, 1, 1, 1}, int64[2,1] at = {3, 1}>"""
    grouping, units = found(middle, width=width, declared=declared)
    assert sum(units) == 6
    assert not grouping.unknown


@pytest.mark.parametrize(
    ("middle", "reason"),
    [
        ("d = Softmax<axis=1>(c)", "normalized"),
        ("d = LRN<size=3>(c)", "normalized"),
        ("d = LayerNormalization<axis=1>(c, one)", "normalized"),
        ("d = CumSum(c, axis)", "summed up"),
        ("m = ReduceMax(c, channel)  d = Sub(c, m)", "reduced over"),
        ("m = ReduceMean(c, channel)  d = Sub(c, m)", "averaged over"),
        ("d, i = TopK<axis=1>(c, k)", "computed indices"),
        ("d = GatherElements<axis=1>(c, at)", "computed indices"),
        ("d = GatherElements<axis=2>(c, at)", "others are not"),
        ("d = Pad<mode=\"reflect\">(c, channels)", "padded"),
        ("d = Slice(c, zero, all, channel, two)", "steps over"),
        ("e = Reshape(c, across)  d = Reshape(e, back)", "cut across"),
    ],
)  # fmt: skip
def test_what_statistics_and_positions_depend_on_stays(middle, reason):
    declared = """<float[1] one = {1}, int64 axis = {1}, int64[1] channel = {1}, int64[1] k = {6},
        int64[8] channels = {0, 1, 0, 0, 0, 1, 0, 0}, int64[1] zero = {0}, int64[1] all = {6},
        int64[1] two = {2}, int64[4] across = {-1, 4, 4, 6},
        int64[4] back = {-1, 6, 4, 4}, int64[1,2,1,1] at = {0, 2}>"""
    width = {"padded": 8, "steps over": 3}.get(reason, 6)
    grouping, units = found(middle, width=width, declared=declared)
    assert not units
    causes = {(frozen.value, frozen.axis): frozen.reason for frozen in grouping.frozen}
    assert reason in causes["w0", 0]


def test_a_mean_over_features_that_folding_made_a_pool_is_told_as_a_mean():
    """As in RMSNorm taken apart: the mean of a matrix's last axis becomes a GlobalAveragePool."""
    made = model(
        """g (float[n,4,6] x, float[6,8] w, float[8,5] v) => (float[n,4,5] y)
        { h = MatMul(x, w)
          q = Mul(h, h)
          m = GlobalAveragePool(q)
          r = Sqrt(m)
          d = Div(h, r)
          y = MatMul(d, v) }""",
        w=[6, 8], v=[8, 5],
    )  # fmt: skip
    frozen = {(one.value, one.axis): one.reason for one in find_groups(made).frozen}
    assert frozen["w", 1] == "it is averaged over"


def test_an_unknown_operator_freezes_and_is_named():
    made = model(
        """g (float[n,4] x, float[4,5] a, float[5,5] b, float[5,2] c) => (float[n,2] y) {
            h = MatMul(x, a)
            s = Det2(h)
            r = MatMul(s, b)
            y = MatMul(r, c)
        }""",
        a=[4, 5], b=[5, 5], c=[5, 2],
    )  # fmt: skip
    made.graph[1].domain = "my.domain"
    made.opset_imports["my.domain"] = 1
    grouping = find_groups(made)
    assert grouping.unknown == ("my.domain::Det2 (Det2_1)",)
    assert not grouping.groups
    assert ("a", 1) in {(f.value, f.axis) for f in grouping.frozen}


def test_control_flow_freezes_what_its_bodies_read():
    made = model(
        """g (float[n,4] x, float[4,5] a, float[5,2] b, bool flag) => (float[n,2] y) {
            h = MatMul(x, a)
            s = If(flag) <
                then_branch = t () => (float[n,5] p) { p = Relu(h) },
                else_branch = e () => (float[n,5] q) { q = Neg(h) }
            >
            y = MatMul(s, b)
        }""",
        a=[4, 5], b=[5, 2],
    )  # fmt: skip
    feeds = {"x": np.ones((2, 4), np.float32), "flag": np.array(True)}
    grouping = find_groups(made, feeds)
    assert not grouping.groups
    reasons = {(f.value, f.axis): f.reason for f in grouping.frozen}
    assert reasons["a", 1] == reasons["b", 0] == "control flow"


def test_inputs_and_outputs_stay():
    made = model(
        """g (float[n,4] x, float[4,5] a) => (float[n,5] y) { y = MatMul(x, a) }""", a=[4, 5]
    )
    grouping = find_groups(made)
    assert not grouping.groups
    assert {(f.axis, f.node) for f in grouping.frozen} == {(0, "x"), (1, "y")}


def test_a_size_used_as_a_number_freezes_what_it_counts():
    """Scores divided by the square root of a size that is read at run time."""
    made = model(
        """g (float[n,4] x, float[4,6] a, float[6,2] b) => (float[n,2] y) {
            h = MatMul(x, a)
            size = Shape<start=1>(h)
            number = Cast<to=1>(size)
            s = Div(h, number)
            y = MatMul(s, b)
        }""",
        a=[4, 6], b=[6, 2],
    )  # fmt: skip
    grouping = find_groups(made)
    assert not grouping.groups
    assert any("computed size" in frozen.reason for frozen in grouping.frozen)


def test_equal_vectors_that_are_stored_once_do_not_couple():
    made = model(
        """g (float[n,4] x, float[4,6] a, float[6,6] b, float[6,2] c, float[6] bias)
              => (float[n,2] y) {
            h = Gemm(x, a, bias)
            r = Gemm(h, b, bias)
            y = MatMul(r, c)
        }""",
        a=[4, 6], b=[6, 6], c=[6, 2], bias=[6],
    )  # fmt: skip
    assert [group.units for group in find_groups(made).groups] == [6, 6]
