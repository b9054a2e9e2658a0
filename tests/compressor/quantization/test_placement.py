from itertools import combinations

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.quantization.dynamic import choose_dynamic
from compressor.quantization.placement import left_alone, place, quantized_values, restricted
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from exporters.ort.target import TARGET

POLICY = TARGET.policy("vnni")


def test_residual_network_is_integer_throughout():
    graph = residual()
    placement = place(graph, POLICY)
    assert placement.float_reasons == {}
    assert len(placement.integer) == 8


def test_relu_is_absorbed_and_the_last_output_stays_float():
    graph = residual()
    values = [v.name for v in quantized_values(graph, place(graph, POLICY).integer, POLICY)]
    assert values == ["x", "r1", "c2", "r2", "p", "f"]


def test_elementwise_between_floats_is_no_island():
    graph = model(
        """g (float[n,32] a, float[n,32] b) => (float[n,32] y) <float[n,32] s, float[n,32] e>
        { e = Exp(a)
          s = Add(e, b)
          y = Exp(s) }"""
    )
    placement = place(graph, POLICY)
    assert placement.integer == ()
    assert "island" in placement.float_reasons["Add_1"]


def test_lone_depthwise_convolution_does_not_pay():
    graph = model(
        """g (float[n,32,16,16] x, float[32,1,3,3] w) => (float[n,32,16,16] y)
        <float[n,32,16,16] h, float[n,32,16,16] c>
        { h = Elu(x)
          c = Conv<group=32, pads=[1,1,1,1]>(h, w)
          y = Elu(c) }""",
        w=[32, 1, 3, 3],
    )
    placement = place(graph, POLICY)
    assert placement.integer == ()
    assert "does not pay" in placement.float_reasons["Conv_1"]


def test_attention_stays_float_and_its_projections_do_not():
    graph = model(
        """g (float[n,32,64] x, float[64,64] wq, float[64,64] wk) => (float[n,32,32] y)
        <float[n,32,64] q, float[n,32,64] k, float[n,64,32] t, float[n,32,32] s>
        { q = MatMul(x, wq)
          k = MatMul(x, wk)
          t = Transpose<perm=[0,2,1]>(k)
          s = MatMul(q, t)
          y = Softmax(s) }""",
        wq=[64, 64], wk=[64, 64],
    )  # fmt: skip
    placement = place(graph, POLICY)
    assert placement.integer == ("MatMul_0", "MatMul_1")
    assert "not a constant weight" in placement.float_reasons["MatMul_3"]
    values = [v.name for v in quantized_values(graph, placement.integer, POLICY)]
    assert values == ["x"], "outputs that are read as float stay float"


def test_matmul_before_an_absorbed_relu_writes_integers():
    graph = model(
        """g (float[n,64] x, float[64,64] w1, float[64,64] w2) => (float[n,64] y)
        <float[n,64] a, float[n,64] r>
        { a = MatMul(x, w1)
          r = Relu(a)
          y = MatMul(r, w2) }""",
        w1=[64, 64], w2=[64, 64],
    )  # fmt: skip
    placement = place(graph, POLICY)
    assert placement.integer == ("MatMul_0", "Relu_1", "MatMul_2")
    values = [v.name for v in quantized_values(graph, placement.integer, POLICY)]
    assert values == ["x", "r"]


def test_relu_whose_input_has_another_reader_stays_float():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w1, float[32,32,3,3] w2)
           => (float[n,32,8,8] y)
        <float[n,32,8,8] c, float[n,32,8,8] r, float[n,32,8,8] d, float[n,32,8,8] s>
        { c = Conv<pads=[1,1,1,1]>(x, w1)
          r = Relu(c)
          d = Conv<pads=[1,1,1,1]>(r, w2)
          s = Add(d, c)
          y = Conv<pads=[1,1,1,1]>(s, w2) }""",
        w1=[32, 32, 3, 3], w2=[32, 32, 3, 3],
    )  # fmt: skip
    placement = place(graph, POLICY)
    assert "Relu_1" not in placement.integer
    assert "Add_3" in placement.integer


def test_trailing_movers_do_not_widen_the_region():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,4,4] y)
        <float[n,32,8,8] c, float[n,32,4,4] p>
        { c = Conv<pads=[1,1,1,1]>(x, w)
          p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(c)
          y = Elu(p) }""",
        w=[32, 32, 3, 3],
    )
    placement = place(graph, POLICY)
    assert placement.integer == ("Conv_0",)
    assert "feeds no integer node" in placement.float_reasons["MaxPool_1"]


@pytest.mark.parametrize(
    ("layer", "arranged"),
    [("Conv(x, w)", True), ("MatMul(x, w)", False)],
    ids=["written as integers", "written as float"],
)
def test_what_arranges_integers_stays_with_them(layer: str, arranged: bool):
    graph = model(
        f"""g (float[n,256,8,256] x, float w) => (float[n,8,256,256] y)
        <float[n,256,8,256] c, float[n,8,256,256] t>
        {{ c = {layer}
          t = Transpose<perm=[0,2,3,1]>(c)
          y = Tanh(t) }}""",
        w=[256, 256, 1, 1] if arranged else [256, 256],
    )
    names = [node.name for node in graph.graph]
    assert place(graph, POLICY).integer == tuple(names[: 1 + arranged])


@pytest.mark.parametrize(
    ("attributes", "words"),
    [("transB=1, alpha=0.5", "alpha and beta"), ("transB=1, transA=1", "transposed input")],
)
def test_gemm_without_an_integer_kernel_says_why(attributes: str, words: str):
    graph = model(
        f"""g (float[64,64] x, float[64,64] w, float[64] b) => (float[64,64] y)
        {{ y = Gemm<{attributes}>(x, w, b) }}""",
        w=[64, 64], b=[64],
    )  # fmt: skip
    placement = place(graph, POLICY)
    assert placement.integer == ()
    assert words in placement.float_reasons["Gemm_0"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "text",
    [
        "g (float[n,8] x, float w) => (float[n,8] y) { y = Gemm(x, w) }",
        "g (float[n,4,8] x, float w) => (float[n,4,8] y) { y = MatMul(x, w) }",
        "g (float[n,8,6,6] x, float w) => (float[n,8,6,6] y) { y = Conv(x, w) }",
    ],
    ids=["Gemm", "MatMul", "Conv"],
)
def test_a_weight_that_is_not_finite_stays_float(text: str, bad: float):
    graph = model(text, w=[8, 8, 1, 1] if "Conv" in text else [8, 8])
    assert "NaN" not in str(place(graph, POLICY).float_reasons)
    value = graph.graph.initializers["w"]
    array = value.const_value.numpy().copy()
    array[2, 3] = bad
    value.const_value = ir.tensor(array, name="w")
    name = graph.graph[0].name
    assert place(graph, POLICY).float_reasons[name] == "its weight holds NaN or infinity"


def test_relu_says_that_its_input_is_read_elsewhere():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w1, float[32,32,3,3] w2)
           => (float[n,32,8,8] y)
        <float[n,32,8,8] c, float[n,32,8,8] r, float[n,32,8,8] d>
        { c = Conv<pads=[1,1,1,1]>(x, w1)
          r = Relu(c)
          d = Conv<pads=[1,1,1,1]>(r, w2)
          y = Add(d, c) }""",
        w1=[32, 32, 3, 3], w2=[32, 32, 3, 3],
    )  # fmt: skip
    reasons = place(graph, POLICY).float_reasons
    assert "c is read elsewhere" in reasons["Relu_1"]
    assert "output of the graph" in reasons["Add_3"]


def test_arithmetic_on_shapes_has_no_reasons():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,m] y)
        <float[n,32,8,8] c, int64[4] s, int64[1] b, int64[2] t,
         int64[1] zero = {0}, int64[1] rest = {-1}>
        { c = Conv<pads=[1,1,1,1]>(x, w)
          s = Shape(c)
          b = Gather(s, zero)
          t = Concat<axis=0>(b, rest)
          y = Reshape(c, t) }""",
        w=[32, 32, 3, 3],
    )
    assert place(graph, POLICY).float_reasons.keys() == {"Reshape_4"}


@pytest.mark.parametrize(
    ("channels", "group", "slow"), [(3, 1, True), (32, 1, False), (8, 8, False)]
)
def test_thin_3d_convolution_stays_float(channels: int, group: int, slow: bool):
    graph = model(
        f"""g (float[n,{channels},8,8,8] x, float[8,{channels // group},3,3,3] w,
              float[64,8,3,3,3] v) => (float[n,64,8,8,8] y) <float[n,8,8,8,8] c>
        {{ c = Conv<pads=[1,1,1,1,1,1], group={group}>(x, w)
          y = Conv<pads=[1,1,1,1,1,1]>(c, v) }}""",
        w=[8, channels // group, 3, 3, 3], v=[64, 8, 3, 3, 3],
    )  # fmt: skip
    reasons = place(graph, POLICY).float_reasons
    assert ("3-D" in reasons.get("Conv_0", "")) is slow


def test_every_part_of_a_placement_is_served_by_the_ranges_of_the_whole():
    graph = residual()
    whole = place(graph, POLICY).integer
    values = quantized_values(graph, whole, POLICY)
    ranges = {value.name: (-3.0, 3.0) for value in values}
    weighted = [n.name for n in graph.graph if n.op_type in POLICY.weighted]
    assert restricted(graph, whole, weighted, POLICY) == whole
    assert restricted(graph, whole, [], POLICY) == ()
    for size in (1, 2):
        for kept in combinations(weighted, size):
            part = restricted(graph, whole, kept, POLICY)
            assert set(part) < set(whole)
            assert {n for n in part if n in weighted} == set(kept)
            made = quantize_static(graph, part, ranges, POLICY, weight_bits=8)
            assert any(node.op_type == "QuantizeLinear" for node in made.graph)


@pytest.mark.parametrize("pattern", ["w2", "Conv_2", "*2"])
def test_what_is_asked_to_stay_float_stays_so_in_every_form(pattern: str):
    """By the name of a node or of its weight; a value that only moves there is none."""
    graph = model(
        """g (float[n,64] x, float[64,64] w1, float[64,64] w2) => (float[n,64] y)
        { a = MatMul(x, w1)
          r2 = Relu(a)
          y = MatMul(r2, w2) }""",
        w1=[64, 64],
        w2=[64, 64],
    )
    one, other = (node.name for node in graph.graph if node.op_type == "MatMul")
    left = left_alone(graph, (pattern.replace("Conv_2", other),))
    assert {name for name in left if name in (one, other)} == {other}
    data = open_dataset({"x": np.random.default_rng(0).standard_normal((16, 64), np.float32)})
    how = CalibrationOptions("minmax", leave=tuple(left))
    static = calibrate(graph, data, POLICY, how)
    assert one in static.integer
    assert other not in static.integer
    assert static.float_reasons[other] == "it was left in float as asked"
    dynamic = choose_dynamic(graph, POLICY, tuple(left))
    assert dynamic.dynamic == (one,)
    assert choose_dynamic(graph, POLICY, ("nothing*",)).record.notices
