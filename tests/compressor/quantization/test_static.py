"""Q/DQ graphs in ONNX Runtime: integer where they should be, and close to float."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from calibration.scheme import QuantParams, Scheme, dequantize, quantize
from compressor.errors import RecipeError
from compressor.graph.files import serialize
from compressor.graph.invariants import check
from compressor.graph.names import make_unique
from compressor.graph.shapes import infer_shapes
from compressor.quantization import weights
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.quantization.weights import (
    fit_bias,
    quantize_bias,
    tensor_params,
    weight_params,
)
from exporters.ort.target import TARGET

POLICY = TARGET.policy("vnni")
WEIGHT = Scheme("int8", symmetric=True, per_channel=True)


def data(shape: tuple[int, ...], name: str = "x", seed: int = 1):
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return open_dataset({name: values}), {name: values}


def quantized(graph: ir.Model, shape: tuple[int, ...], bits: int = 7):
    samples, feeds = data(shape)
    chosen = calibrate(graph, samples, POLICY, CalibrationOptions("minmax", batch=4))
    result = quantize_static(graph, chosen.integer, chosen.ranges, POLICY, weight_bits=bits)
    check(result, "test")
    return result, feeds, chosen


def both(graph: ir.Model, result: ir.Model, feeds: dict[str, np.ndarray]):
    with TARGET.open(graph) as a, TARGET.open(result) as b:
        expected, found = a.run(feeds), b.run(feeds)
    assert expected.keys() == found.keys(), "output names are public"
    return [(expected[name], found[name]) for name in expected]


def sqnr(expected: np.ndarray, found: np.ndarray) -> float:
    return 10 * np.log10(np.sum(expected**2) / np.sum((expected - found) ** 2))


def test_residual_network_runs_on_integer_kernels_and_keeps_its_outputs():
    graph = residual()
    before = serialize(graph)
    result, feeds, _ = quantized(graph, (16, 32, 8, 8))
    integer, floating = TARGET.integer_nodes(result)
    assert integer["QLinearConv"] == 2
    assert integer["QLinearAdd"] == 1
    assert integer["QGemm"] == 1
    assert not {"Conv", "FusedConv", "Gemm", "Add", "Relu"} & floating.keys()
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 25
    assert serialize(graph) == before, "the float graph is not touched"


def test_float_weights_are_not_shipped_beside_the_integers():
    result, _, _ = quantized(residual(), (16, 32, 8, 8))
    assert not {"w1", "w2", "w3", "b1"} & set(result.graph.initializers)


def test_same_decisions_give_the_same_bytes():
    graph = residual()
    samples, _ = data((16, 32, 8, 8))
    chosen = calibrate(graph, samples, POLICY, CalibrationOptions("minmax", batch=4))
    one, other = (
        quantize_static(graph, chosen.integer, chosen.ranges, POLICY, weight_bits=8)
        for _ in range(2)
    )
    assert serialize(one) == serialize(other)


def test_convolution_at_the_output_keeps_the_public_name():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] image)
        { image = Conv<pads=[1,1,1,1]>(x, w) }""",
        w=[32, 32, 3, 3],
    )
    result, feeds, _ = quantized(graph, (8, 32, 8, 8))
    assert [v.name for v in result.graph.outputs] == ["image"]
    assert TARGET.integer_nodes(result)[0].get("QLinearConv") == 1
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 25


def test_clip_is_absorbed():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,8,8] y)
        <float[n,32,8,8] c, float[n,32,8,8] r, float low = {0.0}, float high = {0.3}>
        { c = Conv<pads=[1,1,1,1]>(x, w)
          r = Clip(c, low, high)
          y = Conv<pads=[1,1,1,1]>(r, v) }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    result, feeds, _ = quantized(graph, (8, 32, 8, 8))
    integer, floating = TARGET.integer_nodes(result)
    assert integer.get("QLinearConv") == 2, floating
    assert "Clip" not in floating
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


def test_values_that_only_move_share_one_scale_and_concat_too():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v, float[32,64,3,3] u)
           => (float[n,32,4,4] y)
        <float[n,32,8,8] a, float[n,32,8,8] b, float[n,64,8,8] k, float[n,64,4,4] p>
        { a = Conv<pads=[1,1,1,1]>(x, w)
          b = Conv<pads=[1,1,1,1]>(x, v)
          k = Concat<axis=1>(a, b)
          p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(k)
          y = Conv<pads=[1,1,1,1]>(p, u) }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3], u=[32, 64, 3, 3],
    )  # fmt: skip
    result, feeds, _ = quantized(graph, (8, 32, 8, 8))
    scales = {
        node.inputs[0].name: float(node.inputs[1].const_value.numpy())
        for node in result.graph
        if node.op_type == "QuantizeLinear"
    }
    assert scales["a"] == scales["b"] == scales["k"] == scales["p"]
    integer, floating = TARGET.integer_nodes(result)
    assert integer["QLinearConv"] == 3
    assert integer.get("QLinearConcat", 0) + integer.get("Concat", 0) == 1, floating
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


def test_concat_does_not_undo_an_absorbed_relu():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v, float[32,64,3,3] u)
           => (float[n,32,8,8] y)
        <float[n,32,8,8] a, float[n,32,8,8] r, float[n,32,8,8] b, float[n,64,8,8] k>
        { a = Conv<pads=[1,1,1,1]>(x, w)
          r = Relu(a)
          b = Conv<pads=[1,1,1,1]>(x, v)
          k = Concat<axis=1>(r, b)
          y = Conv<pads=[1,1,1,1]>(k, u) }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3], u=[32, 64, 3, 3],
    )  # fmt: skip
    result, _, _ = quantized(graph, (8, 32, 8, 8))
    integer, floating = TARGET.integer_nodes(result)
    assert integer["QLinearConv"] == 3, floating
    assert "FusedConv" not in floating


def test_shared_weight_is_stored_once():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w) => (float[n,32,8,8] y)
        <float[n,32,8,8] a>
        { a = Conv<pads=[1,1,1,1]>(x, w)
          y = Conv<pads=[1,1,1,1]>(a, w) }""",
        w=[32, 32, 3, 3],
    )
    result, _, _ = quantized(graph, (8, 32, 8, 8))
    stored = [v for v in result.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    assert sum(1 for v in stored if len(v.shape) == 4) == 1


def test_float_reader_of_a_float_value_keeps_full_precision():
    graph = model(
        """g (float[n,64] x, float[64,64] w) => (float[n,64] y)
        <float[n,64] h, float[n,64] m>
        { h = Tanh(x)
          m = MatMul(h, w)
          y = Add(m, h) }""".replace("n,64", "n,8,64"),
        w=[64, 64],
    )
    result, feeds, _ = quantized(graph, (64, 8, 64))
    add = next(node for node in result.graph if node.op_type == "Add")
    assert "h" in [value.name for value in add.inputs]
    assert TARGET.integer_nodes(result)[0].get("MatMulIntegerToFloat") == 1
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 30


def test_matrix_product_before_an_add_is_kept_from_becoming_a_float_gemm():
    graph = model(
        """g (float[n,64] x, float[64,64] w) => (float[n,64] y)
        <float[n,64] h, float[n,64] m>
        { h = Tanh(x)
          m = MatMul(h, w)
          y = Add(m, h) }""",
        w=[64, 64],
    )
    result, feeds, _ = quantized(graph, (64, 64))
    integer, floating = TARGET.integer_nodes(result)
    assert integer.get("QLinearMatMul") == 1, floating
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 30


def test_plan_of_another_graph_names_what_is_missing():
    with pytest.raises(RecipeError, match="elsewhere"):
        quantize_static(residual(), ("elsewhere",), {}, POLICY, weight_bits=8)


def test_integers_of_another_shape_name_their_node():
    for name, shape in (("Conv_0", (3, 3)), ("elsewhere", (32, 32, 3, 3))):
        with pytest.raises(RecipeError, match=name):
            rounded = {name: np.zeros(shape, np.int8)}
            quantize_static(residual(), (), {}, POLICY, weight_bits=8, rounded=rounded)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 6), st.sampled_from([7, 8]))
def test_weights_are_no_worse_than_with_the_largest_as_clip(seed: int, channels: int, bits: int):
    scheme = Scheme("int8", symmetric=True, per_channel=True, bits=bits)
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal((channels, 9)) * 10.0 ** rng.integers(-6, 3)).astype(np.float32)
    params = weight_params(weight, 0, scheme)
    whole = QuantParams(scheme, np.abs(weight).max(1) / scheme.qmax, params.zero_point, 0)

    def errors(chosen: QuantParams) -> np.ndarray:
        found = dequantize(quantize(weight, chosen), chosen)
        return np.square(found - weight).sum(axis=1)

    assert np.all(errors(params) <= errors(whole) * 1.0001)


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_of_a_tensor_are_found_once_and_those_of_its_numbers(axis: int, monkeypatch):
    numbers = np.random.default_rng(0).standard_normal((70, 90)).astype(np.float32)
    monkeypatch.setattr(weights, "BLOCK", 2**40)
    whole = weight_params(numbers, axis, WEIGHT)
    monkeypatch.setattr(weights, "BLOCK", 300)  # three rows of a hundred at once
    tensor = ir.tensor(numbers)
    found = tensor_params(tensor, axis, WEIGHT)
    np.testing.assert_array_equal(found.scale, whole.scale)
    assert found.axis == axis
    assert tensor_params(tensor, axis, WEIGHT) is found
    other = Scheme("int8", symmetric=True, per_channel=True, bits=4)
    assert tensor_params(tensor, axis, other).scale[0] > found.scale[0]


def test_one_large_weight_is_clipped_for_finer_steps():
    weight = np.full((1, 1000), 0.011, np.float32)
    weight[0, 0] = 1.0
    scale = float(weight_params(weight, 0, WEIGHT).scale[0])
    assert scale * 1.0001 >= 0.75 / 127
    assert scale < 1 / 127


def test_dead_channel_gets_no_zero_scale_and_its_bias_fits():
    weight = np.array([[0.0, 0.0], [1e-12, 0.0], [1.0, -1.0]], np.float32)
    bias = np.array([5.0, 5.0, 5.0], np.float32)
    params = fit_bias(weight_params(weight, 0, WEIGHT), bias, 0.01)
    whole, scale = quantize_bias(bias, 0.01, params)
    assert np.all(params.scale > 0)
    assert np.allclose(whole * scale, bias, rtol=0.01)


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_pad_between_integers_pads_integers(mode: str):
    graph = model(
        f"""g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,8,8] y)
        <float[n,32,8,8] a, float[n,32,10,10] p, int64[8] pads = {{0,0,1,1,0,0,1,1}}>
        {{ a = Conv<pads=[1,1,1,1]>(x, w)
          p = Pad<mode="{mode}">(a, pads)
          y = Conv(p, v) }}""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    result, feeds, _ = quantized(graph, (8, 32, 8, 8))
    integer, floating = TARGET.integer_nodes(result)
    assert integer.get("QLinearConv") == 2
    assert integer.get("Pad") == 1, floating
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


@pytest.mark.parametrize(("low", "high"), [(-0.5, 0.5), (-0.3, 1e9), (-1e9, 0.4), (-0.6, 0.0)])
def test_clip_is_absorbed_whatever_bounds_it_has_around_zero(low: float, high: float):
    graph = model(
        f"""g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,8,8] y)
        <float[n,32,8,8] c, float[n,32,8,8] r, float low = {{{low}}}, float high = {{{high}}}>
        {{ c = Conv<pads=[1,1,1,1]>(x, w)
          r = Clip(c, low, high)
          y = Conv<pads=[1,1,1,1]>(r, v) }}""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    result, feeds, _ = quantized(graph, (8, 32, 8, 8))
    integer, floating = TARGET.integer_nodes(result)
    assert integer.get("QLinearConv") == 2, floating
    assert "Clip" not in floating
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.6), (-0.6, -0.1)])
def test_clip_away_from_zero_does_not_take_its_convolution_along(low: float, high: float):
    graph = model(
        f"""g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,8,8] y)
        <float[n,32,8,8] c, float[n,32,8,8] r, float low = {{{low}}}, float high = {{{high}}}>
        {{ c = Conv<pads=[1,1,1,1]>(x, w)
          r = Clip(c, low, high)
          y = Conv<pads=[1,1,1,1]>(r, v) }}""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    result, feeds, chosen = quantized(graph, (8, 32, 8, 8))
    assert TARGET.integer_nodes(result)[0].get("QLinearConv") == 2
    assert "around zero" in chosen.float_reasons["Clip_1"]
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


def test_pad_below_an_absorbed_relu_does_not_bring_it_back():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,8,8] y)
        <float[n,32,8,8] c, float[n,32,8,8] r, float[n,32,10,10] p,
         int64[8] pads = {0,0,1,1,0,0,1,1}, float filler = {-1.0}>
        { c = Conv<pads=[1,1,1,1]>(x, w)
          r = Relu(c)
          p = Pad(r, pads, filler)
          y = Conv(p, v) }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    result, feeds, _ = quantized(graph, (8, 32, 8, 8))
    integer, floating = TARGET.integer_nodes(result)
    assert integer.get("QLinearConv") == 2, floating
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


def test_pad_with_infinity_leaves_ranges_finite():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v, float[1] filler)
           => (float[n,32,4,4] y)
        <float[n,32,8,8] c, float[n,32,10,10] p, float[n,32,4,4] m,
         int64[8] pads = {0,0,1,1,0,0,1,1}>
        { c = Conv<pads=[1,1,1,1]>(x, w)
          p = Pad(c, pads, filler)
          m = MaxPool<kernel_shape=[3,3], strides=[2,2]>(p)
          y = Conv<pads=[1,1,1,1]>(m, v) }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3], filler=[],
    )  # fmt: skip
    filler = ir.tensor(np.array(-np.inf, np.float32), name="filler")
    graph.graph.initializers["filler"].const_value = filler
    result, feeds, chosen = quantized(graph, (8, 32, 8, 8))
    assert TARGET.integer_nodes(result)[0].get("QLinearConv") == 2
    assert "finite" in chosen.float_reasons["Pad_1"]
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


def followed_by(tail: str, outputs: str) -> ir.Model:
    """Two convolutions, and nodes behind them that read what integers are."""
    made = model(
        f"""g (float[n,8,8,8] x, float[16,8,3,3] w1, float[16,16,3,3] w2) => ({outputs})
        <float[n,16,8,8] c, float[n,16,8,8] r, float[n,16,8,8] d>
        {{
            c = Conv<pads=[1,1,1,1]>(x, w1)
            r = Relu(c)
            d = Conv<pads=[1,1,1,1]>(r, w2)
            {tail}
        }}""",
        w1=[16, 8, 3, 3], w2=[16, 16, 3, 3],
    )  # fmt: skip
    make_unique(made)
    return infer_shapes(made)


READERS = {
    "Shape": ("k = Shape(r) y = Relu(d)", "int64[4] k, float[n,16,8,8] y"),
    "Size": ("k = Size(d) y = Relu(d)", "int64 k, float[n,16,8,8] y"),
    "ArgMax": ("k = ArgMax<axis=1>(d) y = Relu(d)", "int64[n,1,8,8] k, float[n,16,8,8] y"),
    "Cast": ("k = Cast<to=10>(d) y = Relu(d)", "float16[n,16,8,8] k, float[n,16,8,8] y"),
    "Greater": ("k = Greater(d, r) y = Relu(d)", "bool[n,16,8,8] k, float[n,16,8,8] y"),
    "NonZero": ("k = NonZero(r) y = Relu(d)", "int64[4,m] k, float[n,16,8,8] y"),
    "IsNaN": ("k = IsNaN(r) y = Relu(d)", "bool[n,16,8,8] k, float[n,16,8,8] y"),
    "TopK": (
        "i = Constant<value_ints=[3]>() v, k = TopK(r, i) y = Relu(d)",
        "int64[n,16,8,3] k, float[n,16,8,8] y",
    ),
    "QuantizeLinear": (
        "s = Constant<value_float=0.1>() k = QuantizeLinear(r, s) y = Relu(d)",
        "uint8[n,16,8,8] k, float[n,16,8,8] y",
    ),
    "body": (
        """z = Constant<value_float=0.1>()
        m = ReduceMean<keepdims=0>(r)
        b = Greater(m, z)
        y = If (b) <then_branch = t () => (float[n,16,8,8] u) { u = Neg(r) },
                    else_branch = e () => (float[n,16,8,8] v) { v = Add(r, d) }>""",
        "float[n,16,8,8] y",
    ),
}


@pytest.mark.parametrize("operator", READERS)
def test_readers_that_write_no_floats_read_what_is_dequantized(operator: str):
    graph = followed_by(*READERS[operator])
    samples, feeds = data((16, 8, 8, 8))
    chosen = calibrate(graph, samples, POLICY, CalibrationOptions(batch=4))
    assert {"Conv_0", "Conv_2"} <= set(chosen.integer)
    result = quantize_static(graph, chosen.integer, chosen.ranges, POLICY, weight_bits=7)
    pairs = both(graph, result, feeds)
    assert [found.dtype for _, found in pairs] == [expected.dtype for expected, _ in pairs]
    expected, found = next(pair for pair in pairs if pair[0].dtype == np.float32)
    assert sqnr(expected, found) > 20


@pytest.mark.parametrize(
    "attributes",
    ["", ", dilations=[1,1]", ", dilations=[2,2]", ", count_include_pad=1, ceil_mode=1"],
)
def test_average_pools_between_integers_run_whatever_their_attributes(attributes: str):
    pool = f"AveragePool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]{attributes}>"
    graph = followed_by(f"p = {pool}(d) y = Conv<pads=[1,1,1,1]>(p, w2)", "float[n,16,i,j] y")
    result, feeds, _ = quantized(graph, (16, 8, 8, 8))
    integer = TARGET.integer_nodes(result)[0]
    assert integer["QLinearConv"] == 3
    shared = "ceil" not in attributes and "2,2" not in attributes
    assert integer.get("QLinearAveragePool", 0) == int(shared)
    for expected, found in both(graph, result, feeds):
        assert sqnr(expected, found) > 20


def test_indices_of_a_maximum_are_no_activation():
    pool = "p, k = MaxPool<kernel_shape=[2,2], strides=[2,2]>(d)"
    graph = followed_by(f"{pool} y = Conv(p, w2)", "float[n,16,2,2] y, int64[n,16,4,4] k")
    result, feeds, chosen = quantized(graph, (16, 8, 8, 8))
    assert "indices" in chosen.float_reasons["MaxPool_3"]
    assert TARGET.integer_nodes(result)[0]["QLinearConv"] == 3
    expected, found = both(graph, result, feeds)[0]
    assert sqnr(expected, found) > 20
