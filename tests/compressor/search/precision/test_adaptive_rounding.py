"""Weights that are rounded together: nearer to the float outputs than the nearest integers."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from seams import Clock, session_of

from calibration.dataset import open_dataset
from calibration.scheme import Scheme, dequantize, quantize
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.layerwise.activity import activity
from compressor.layerwise.layers import Layer, layers_of
from compressor.plan.plan import GraphPlan
from compressor.quantization.pair_sums import LIMIT, summed
from compressor.quantization.weights import (
    channel_axis,
    fit_bias,
    nearest_integers,
    weight_integers,
    weight_params,
)
from compressor.recipe.recipe import Recipe
from compressor.search.precision.adaptive_rounding import integers_of, own_layers, with_rounding

SCHEME = Scheme("int8", symmetric=True, per_channel=True, bits=4)

GRAPHS = {
    "Conv": (
        "g (float[n,8,9,9] x, float[12,8,3,3] w) => (float[n,12,9,9] y) "
        "{ y = Conv<pads=[1,1,1,1]>(x, w) }",
        [12, 8, 3, 3],
    ),
    "Conv of groups": (
        "g (float[n,8,9,9] x, float[12,4,3,3] w) => (float[n,12,9,9] y) "
        "{ y = Conv<group=2, pads=[1,1,1,1]>(x, w) }",
        [12, 4, 3, 3],
    ),
    "depthwise": (
        "g (float[n,8,9,9] x, float[8,1,3,3] w) => (float[n,8,9,9] y) "
        "{ y = Conv<group=8, pads=[1,1,1,1]>(x, w) }",
        [8, 1, 3, 3],
    ),
    "ConvTranspose of groups": (
        "g (float[n,8,9,9] x, float[8,6,3,3] w) => (float[n,12,19,19] y) "
        "{ y = ConvTranspose<group=2, strides=[2,2]>(x, w) }",
        [8, 6, 3, 3],
    ),
    "MatMul": (
        "g (float[n,9,32] x, float[32,24] w) => (float[n,9,24] y) { y = MatMul(x, w) }",
        [32, 24],
    ),
    "Gemm": (
        "g (float[n,32] x, float[24,32] w) => (float[n,24] y) "
        "{ y = Gemm<transB=1, alpha=0.5>(x, w) }",
        [24, 32],
    ),
}


def inputs(graph: ir.Model, seed: int) -> np.ndarray:
    """Features that go together, 64 samples."""
    rng = np.random.default_rng(seed)
    shape = [64, *(int(size) for size in graph.graph.inputs[0].shape[1:])]
    axis = 1 if len(shape) == 4 else -1
    width = shape[axis]
    mixed = np.random.default_rng(9).standard_normal((width, width)) @ np.diag(
        np.geomspace(1, 0.02, width)
    )
    x = np.moveaxis(rng.standard_normal(shape), axis, -1) @ mixed
    # Neighbours go together as well.
    x = np.moveaxis(x, -1, axis)
    return (x + np.roll(x, 1, -1)).astype(np.float32)


def rounded_layer(name: str, scheme: Scheme = SCHEME) -> tuple[ir.Model, Layer, np.ndarray]:
    text, shape = GRAPHS[name]
    graph = infer_shapes(model(text, w=shape))
    layer = next(iter(layers_of(graph).values()))
    data = open_dataset({"x": inputs(graph, 0)})
    seen = activity(graph, [layer], data, batch=16, memory=10**8)[layer.name]
    return graph, layer, integers_of(layer, seen.moments.raw()[0], scheme)


def error(graph: ir.Model, weight: np.ndarray) -> float:
    """Energy of the error at the output with that weight, on other inputs."""
    x = inputs(graph, 1)
    changed = graph.clone()
    changed.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    a, b = (open_session(one).run(None, {"x": x})[0] for one in (graph, changed))
    return float(np.square(a - b).sum())


@pytest.mark.parametrize("name", GRAPHS)
def test_the_output_is_nearer_than_by_the_nearest_integers(name: str):
    graph, layer, codes = rounded_layer(name)
    params = weight_params(layer.weight, channel_axis(layer.node), SCHEME)
    assert codes.shape == layer.weight.shape
    assert np.abs(codes).max() <= SCHEME.qmax
    nearest = quantize(layer.weight, params)
    ratio = error(graph, dequantize(codes, params)) / error(graph, dequantize(nearest, params))
    # The nine weights of a depthwise kernel have little to share.
    assert ratio < (1 if name == "depthwise" else 0.8)


@pytest.mark.parametrize("name", [name for name in GRAPHS if "Transpose" not in name])
def test_pairs_leave_each_other_room(name: str) -> None:
    scheme = Scheme("int8", symmetric=True, per_channel=True, pairs=True)
    graph, layer, codes = rounded_layer(name, scheme)
    axis = channel_axis(layer.node)
    params = weight_params(layer.weight, axis, scheme)
    nearest = nearest_integers(layer.weight, params, axis)
    first, second = (summed(codes, axis)[:, start::2].astype(int) for start in (0, 1))
    first = first[:, : second.shape[1]]
    alike = first * second > 0
    assert alike.any()
    assert (np.abs(first) + np.abs(second))[alike].max() <= LIMIT
    ratio = error(graph, dequantize(codes, params)) / error(graph, dequantize(nearest, params))
    assert ratio < (1.1 if name == "depthwise" else 0.8)


@pytest.mark.parametrize("name", ["Conv", "MatMul", "Gemm"])
def test_zeros_of_a_pattern_stay_zero_and_the_rest_makes_up_for_it(name: str):
    text, shape = GRAPHS[name]
    graph = infer_shapes(model(text, w=shape))
    value = graph.graph.initializers["w"]
    gone = np.random.default_rng(1).random(shape) < 0.5
    value.const_value = ir.tensor(np.where(gone, 0, value.const_value.numpy()), name="w")
    layer = next(iter(layers_of(graph).values()))
    data = open_dataset({"x": inputs(graph, 0)})
    seen = activity(graph, [layer], data, batch=16, memory=10**8)[layer.name]
    gram = seen.moments.raw()[0]
    assert np.any(integers_of(layer, gram, SCHEME)[gone])
    codes = integers_of(layer, gram, SCHEME, zeros=True)
    assert not np.any(codes[gone])
    params = weight_params(layer.weight, channel_axis(layer.node), SCHEME)
    nearest = dequantize(quantize(layer.weight, params), params)
    assert error(graph, dequantize(codes, params)) < 0.9 * error(graph, nearest)


def test_a_channel_whose_scale_was_raised_is_rounded_anew():
    weight = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    own = weight_params(weight, 0, SCHEME)
    raised = fit_bias(own, np.array([0, 1e9, 0, 0], np.float32), 1e-3)
    chosen = quantize(weight, own) - 1
    found = weight_integers(weight, raised, own, chosen, 0)
    np.testing.assert_array_equal(found[[0, 2, 3]], chosen[[0, 2, 3]])
    np.testing.assert_array_equal(found[1], quantize(weight, raised)[1])


def test_weights_that_something_else_reads_stay_the_nearest():
    graph = model(
        """g (float[n,8] x, float w, float b, float v) => (float[n,8] y)
        {
            a = Gemm(x, w, b)
            c = Constant<value_floats=[1,2,3,4,5,6,7,8]>()
            d = Gemm(a, w, c)
            y = Gemm(d, v, b)
        }""",
        w=[8, 8], b=[8], v=[8, 8],
    )  # fmt: skip
    # The second one is integer, but no layer of least squares, as its bias is no initializer.
    assert [layer.name for layer in layers_of(graph).values()] == ["Gemm_0", "Gemm_3"]
    plan = GraphPlan(
        graph="", baseline="captured", ship="int8", dynamic=("Gemm_0", "Gemm_2", "Gemm_3")
    )
    assert [layer.name for layer in own_layers(graph, plan)] == ["Gemm_3"]


def test_a_layer_that_feeds_a_stream_through_a_reshape_takes_images_of_any_size():
    """As the time embedding of a denoiser does, whose images differ in size."""
    graph = infer_shapes(
        model(
            "g (float[n,8,h,s] x, float[n,6] t, float[6,8] w) => (float[n,8,h,s] y) "
            "<int64[2] axes = {2,3}> { e = MatMul(t, w)  b = Unsqueeze(e, axes)  y = Add(x, b) }",
            w=[6, 8],
        )
    )
    rng = np.random.default_rng(0)
    layer = next(iter(layers_of(graph).values()))
    images = [rng.standard_normal((2, 8, s, s)).astype(np.float32) for s in (5, 9, 5)]
    times = rng.standard_normal((3, 2, 6)).astype(np.float32)
    data = open_dataset([{"x": x, "t": t} for x, t in zip(images, times, strict=True)])
    data = data.bind(input_specs(graph))
    seen = activity(graph, [layer], data, batch=2, memory=10**8)[layer.name]
    weight = layer.weight
    sums = [x + (t @ weight)[:, :, None, None] for x, t in zip(images, times, strict=True)]
    rows = np.concatenate([np.moveaxis(a, 1, -1).reshape(-1, 8) for a in sums])
    np.testing.assert_allclose(seen.spread, np.square(rows - rows.mean(0)).sum(), rtol=1e-5)


@pytest.mark.parametrize(("size", "rounded"), [(1.0, True), (100.0, False)])
def test_weights_stay_the_nearest_where_squares_are_not_finite(size: float, rounded: bool):
    graph = model(
        "g (float[n,64] x, float w) => (float[n,16] y) { e = Exp(x) y = MatMul(e, w) }",
        w=[64, 16],
    )
    x = (size * np.random.default_rng(0).standard_normal((32, 64))).astype(np.float32)
    session = session_of(graph, Recipe(), Clock(), calibration={"x": x})
    data = session.prepared.calibration
    assert data is not None
    plan = GraphPlan(graph="", baseline="captured", ship="int8", cpu="avx2", dynamic=("MatMul_1",))
    found = with_rounding(session, session.prepared.model, plan, data)
    assert (found is plan) != rounded
    assert set(found.rounded) == ({"MatMul_1"} if rounded else set())
