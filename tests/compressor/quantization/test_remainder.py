"""Half precision outside of integers: types, numbers, and what has to stay float32."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from onnx.reference import ReferenceEvaluator

from calibration.dataset import CalibrationSet, open_dataset
from calibration.preprocess import Preprocess
from calibration.scheme import FLOAT8
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.quantization.remainder import MASKED, halved, unfit_for_half, why_not_half


def x_of(graph: ir.Model, scale: float = 1.0) -> np.ndarray:
    dims = graph.graph.inputs[0].shape or ()
    shape = [4 if isinstance(dim, ir.SymbolicDim) else dim for dim in dims]
    found: np.ndarray = np.random.default_rng(0).uniform(-scale, scale, shape)
    return found.astype(np.float32)


def bound(graph: ir.Model, x: np.ndarray) -> CalibrationSet:
    data = open_dataset({"x": x}, preprocess=Preprocess(), role="calibration")
    return data.bind(input_specs(graph))


def data_of(graph: ir.Model, scale: float = 1.0) -> CalibrationSet:
    return bound(graph, x_of(graph, scale))


def run(graph: ir.Model, x: np.ndarray) -> np.ndarray:
    return np.asarray(open_session(graph).run(None, {"x": x})[0])


def casts(graph: ir.Model) -> int:
    return sum(node.op_type == "Cast" for node in graph.graph)


def test_everything_is_half_but_the_interface_and_the_original():
    graph = residual()
    result = halved(graph, ())
    kinds = {value.dtype for value in result.graph.initializers.values()}
    assert kinds == {ir.DataType.FLOAT16}
    assert {node.outputs[0].dtype for node in result.graph} == {
        ir.DataType.FLOAT16,
        ir.DataType.FLOAT,
    }
    assert casts(result) == 2, "one behind the input, one in front of the output"
    assert [value.name for value in result.graph.outputs] == ["y"]
    expected, found = run(graph, x_of(graph)), run(result, x_of(graph))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())
    assert not np.array_equal(found, expected)


def test_what_is_kept_stays_float32_between_casts():
    result = halved(residual(), ("Conv_2",))
    kept = next(node for node in result.graph if node.name == "Conv_2")
    assert {value.dtype for value in kept.inputs if value} == {ir.DataType.FLOAT}
    assert casts(result) == 4


def test_an_interface_in_half_stays_so():
    graph = model(
        """g (float16[n,4] x) => (float16[n,4] y, float[n,4] z)
        { y = Relu(x)
          c = Cast<to=1>(y)
          z = Neg(c) }"""
    )
    result = halved(graph, ())
    kinds = [value.dtype for value in (*result.graph.inputs, *result.graph.outputs)]
    assert kinds == [ir.DataType.FLOAT16, ir.DataType.FLOAT16, ir.DataType.FLOAT]


LARGE = """g (float[n,4] x) => (float[n,4] y)
    <float m = {3e4}, float s = {1e-4}>
    { a = Mul(x, m)
      b = Mul(a, s)
      y = Relu(b) }"""


def test_values_that_would_overflow_keep_their_nodes_in_float32():
    graph = model(LARGE)
    assert unfit_for_half(graph, data_of(graph)) == ()
    assert unfit_for_half(graph, data_of(graph, 2.0)) == ("Mul_0", "Mul_1")
    result = halved(graph, unfit_for_half(graph, data_of(graph, 4.0)))
    kinds = {node.name: node.outputs[0].dtype for node in result.graph}
    assert kinds["Mul_0"] == kinds["Mul_1"] == ir.DataType.FLOAT
    assert kinds["Relu_2"] == ir.DataType.FLOAT16
    x = x_of(graph, 4.0)
    np.testing.assert_allclose(run(result, x), run(graph, x), rtol=1e-3, atol=1e-3)


def test_a_lone_constant_that_half_would_drop_keeps_its_reader():
    graph = model(
        """g (float[n,4] x) => (float[n,4] y) <float e = {1e-9}>
        { a = Mul(x, x)
          b = Add(a, e)
          c = Sqrt(b)
          y = Div(x, c) }"""
    )
    assert unfit_for_half(graph, data_of(graph)) == ("Add_1",)


def test_every_calibration_sample_is_looked_at():
    graph = model(LARGE)
    x = np.full((100, 4), 0.5, np.float32)
    assert unfit_for_half(graph, bound(graph, x)) == ()
    x[-1] = 4.0
    assert unfit_for_half(graph, bound(graph, x)) == ("Mul_0", "Mul_1")


def test_values_that_half_would_take_for_zero_keep_their_nodes_in_float32():
    graph = model(
        """g (float[n,4] x) => (float[n,4] y)
        <float[4] w = {1e-9, 2e-9, -3e-9, 1e-9}, float s = {2e4}>
        { a = Mul(x, w)
          b = Mul(a, s)
          c = Mul(b, s)
          y = Relu(c) }"""
    )
    kept = unfit_for_half(graph, data_of(graph))
    assert kept == ("Mul_0", "Mul_1", "Mul_2")
    result = halved(graph, kept)
    x = x_of(graph)
    # ONNX Runtime would compute half in float32.
    found = ReferenceEvaluator(ir.to_proto(result)).run(None, {"x": x})[0]
    np.testing.assert_allclose(found, run(graph, x), rtol=1e-3, atol=1e-3)


def test_the_logarithm_of_tiny_shares_stays_float32():
    graph = model("g (float[n,4] x) => (float[n,4] y) { a = LogSoftmax(x) \n y = Relu(a) }")
    assert unfit_for_half(graph, data_of(graph)) == ()
    assert unfit_for_half(graph, data_of(graph, 20.0)) == ("LogSoftmax_0",)


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
@pytest.mark.parametrize("scattering", ["ScatterElements<{}>(r, i, r)", "ScatterND<{}>(r, j, r)"])
def test_what_is_scattered_and_summed_stays_float32(scattering: str, reduction: str):
    """Messages of a graph network at its nodes."""
    scattered = scattering.format(f'reduction="{reduction}"')
    graph = model(
        f"""g (float[3,4] x) => (float[3,4] y)
        <int64[3,4] i = {{0, 1, 2, 0, 0, 1, 2, 2, 1, 0, 1, 0}}, int64[3,1] j = {{0, 1, 2}}>
        {{ r = Relu(x)
           s = {scattered}
           y = Neg(s) }}"""
    )
    x = np.random.default_rng(0).uniform(-1, 1, (3, 4)).astype(np.float32)
    result = halved(graph, ())
    (node,) = (node for node in result.graph if node.op_type.startswith("Scatter"))
    wanted = ir.DataType.FLOAT16 if reduction == "none" else ir.DataType.FLOAT
    assert node.outputs[0].dtype == wanted
    np.testing.assert_allclose(run(result, x), run(graph, x), atol=4e-3)


def test_what_the_parser_refuses_in_half_stays_float32():
    graph = model(
        "g (float[n,4,3,3] x) => (float[n,4,3,3] y) { a = MeanVarianceNormalization(x)\n"
        "y = Relu(a) }"
    )
    kinds = {node.op_type: node.outputs[0].dtype for node in halved(graph, ()).graph}
    assert kinds["MeanVarianceNormalization"] == ir.DataType.FLOAT
    assert kinds["Relu"] == ir.DataType.FLOAT16


@pytest.mark.parametrize("kept", [(), ("MatMul_1",)])
def test_scales_beyond_half_stay_as_they_are(kept: tuple[str, ...]):
    graph = model(
        """g (float[n,4] x) => (float[n,2] y)
        <float[2] s = {1e6, 3e5}, int8[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        { d = DequantizeLinear<axis=1>(w, s)
          y = MatMul(x, d) }"""
    )
    made_by = next(node for node in halved(graph, kept).graph if node.op_type != "Cast")
    scale = None if made_by.inputs[1] is None else made_by.inputs[1].const_value
    assert scale is not None
    np.testing.assert_array_equal(scale.numpy(), np.array([1e6, 3e5], np.float32))


@pytest.mark.parametrize("endless", ["-3.4e38", "-inf"])
def test_a_mask_of_minus_infinity_stays_a_mask(endless: str):
    graph = model(
        f"""g (float[n,4] x) => (float[n,4] y) <float[4] m = {{0, {endless}, 0, {endless}}}>
        {{ a = Add(x, m)
          y = Softmax(a) }}"""
    )
    assert unfit_for_half(graph, data_of(graph)) == ()
    result = halved(graph, ())
    stored = next(iter(result.graph.initializers.values())).const_value
    assert stored is not None
    np.testing.assert_array_equal(stored.numpy(), [0, -MASKED, 0, -MASKED])
    found = run(result, x_of(graph))
    assert (found[:, [1, 3]] == 0).all()
    np.testing.assert_allclose(found, run(graph, x_of(graph)), atol=1e-3)


@pytest.mark.parametrize(
    "body",
    [
        "s = Shape(x) \n r = ConstantOfShape<value = float[1] {1.5}>(s) \n y = Add(x, r)",
        "i = Cast<to=6>(x) \n f = Cast<to=1>(i) \n y = Add(x, f)",
        "c = Constant<value = float[4] {1.0, 2.0, 3.0, 4.0}>() \n y = Mul(x, c)",
        "v, i = TopK<axis=1>(x, k) \n y = Add(v, v)",
        "g0 = Greater(x, z) \n y = Where(g0, x, z)",
    ],
)
def test_operators_that_say_their_type_follow(body: str):
    graph = model(
        f"g (float[n,4] x) => (float[n,4] y) <int64[1] k = {{4}}, float z = {{0.5}}> {{ {body} }}"
    )
    x = 3 * x_of(graph)
    np.testing.assert_allclose(run(halved(graph, ()), x), run(graph, x), rtol=2e-3, atol=2e-3)


def test_resize_keeps_its_scales_in_float32():
    graph = model(
        """g (float[n,2,4,4] x) => (y) <float[4] f = {1.0, 1.0, 2.0, 2.0}>
        { y = Resize<mode="nearest">(x, , f) }"""
    )
    result = halved(graph, ())
    np.testing.assert_allclose(run(result, x_of(graph)), run(graph, x_of(graph)), atol=1e-3)


def test_a_body_is_an_obstacle():
    graph = model(
        """g (float[n,4] x, bool c) => (float[n,4] y)
        { y = If(c) <then_branch = a () => (t) { t = Relu(x) },
                     else_branch = b () => (e) { e = Neg(x) }> }"""
    )
    assert "has a body" in (why_not_half(graph) or "")
    assert why_not_half(residual()) is None


def test_tiny_channels_of_a_weight_do_not_take_it_out_of_half():
    """One channel is dead, one small: a Cast behind the integers would undo the integer layer."""
    sizes = np.array([1.0, 1e-3, 1e-12], np.float32)
    rng = np.random.default_rng(0)
    whole = rng.integers(-127, 128, (3, 4)).astype(np.int8)
    graph = model(
        "g (float[n,4] x) => (float[n,3] y) "
        "{ w = DequantizeLinear<axis=0>(q, s, z) y = Gemm<transB=1>(x, w) }"
    )
    for name, array in (("q", whole), ("s", sizes / 127), ("z", np.zeros(3, np.int8))):
        value = next(v for node in graph.graph for v in node.inputs if v and v.name == name)
        value.const_value = ir.tensor(array, name=name)
        graph.graph.register_initializer(value)
    result = halved(graph, ())
    layer = next(node for node in result.graph if node.op_type == "Gemm")
    read = layer.inputs[1]
    made_by = None if read is None else read.producer()
    assert made_by is not None
    assert made_by.op_type == "DequantizeLinear"
    assert made_by.outputs[0].dtype == ir.DataType.FLOAT16
    x = x_of(graph)
    expected, found = run(graph, x), run(result, x)
    bound = np.abs(expected).max(axis=0)
    assert (np.abs(found - expected).max(axis=0) <= 0.02 * bound + 1e-6).all()


def test_tiny_weights_of_what_stays_float32_stay_as_they_are():
    graph = model(
        """g (float[n,4] x) => (float[n,2] y)
        <float[2] s = {1e-10, 3e-10}, int8[4,2] w = {1, 2, 3, 4, 5, 6, 7, 8}>
        { d = DequantizeLinear<axis=1>(w, s)
          y = MatMul(x, d) }"""
    )
    x = x_of(graph, 1e4)
    np.testing.assert_array_equal(run(halved(graph, ("MatMul_1",)), x), run(graph, x))


def test_tiny_channels_of_8_bit_floats_move_by_powers_of_two():
    """What is stored stays as it is but for the exponent, until it is subnormal."""
    sizes = np.array([1.0, 1e-3, 3e-4], np.float32)
    values = np.random.default_rng(0).uniform(-448, 448, (3, 4)).astype(FLOAT8)
    graph = model(
        "g (float[n,4] x) => (float[n,3] y) "
        "{ w = DequantizeLinear<axis=0>(q, s, z) y = Gemm<transB=1>(x, w) }"
    )
    for name, array in (("q", values), ("s", sizes / 448), ("z", np.zeros(3, FLOAT8))):
        value = next(v for node in graph.graph for v in node.inputs if v and v.name == name)
        value.const_value = ir.tensor(array, name=name)
        graph.graph.register_initializer(value)
    result = halved(graph, ())
    made_by = next(node for node in result.graph if node.op_type == "DequantizeLinear")
    codes, scale = (v.const_value.numpy() for v in made_by.inputs[:2] if v and v.const_value)
    assert (codes.dtype, scale.dtype) == (FLOAT8, np.float16)
    assert scale[1:].min() >= np.finfo(np.float16).smallest_normal
    exact = values.astype(np.float64) * sizes[:, None] / 448
    found = codes.astype(np.float64) * scale.astype(np.float64)[:, None]
    # Half rounds a scale by 2⁻¹¹ at most; a subnormal is off by half of 2⁻⁹.
    bound = np.abs(exact) * 2.0**-11 + 2.0**-10 * scale.astype(np.float64)[:, None]
    assert (np.abs(found - exact) <= bound).all()
