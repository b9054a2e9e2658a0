"""What ONNX Runtime's own optimizer makes of biases and float weights, and that it does no harm."""

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from compressor.graph.files import serialize
from compressor.quantization.remainder import halved
from compressor.quantization.runtime_rounding import is_rounded, shield_floats
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from exporters.ort.target import TARGET as ORT
from exporters.trt.policy import trt_policy

PLAIN = 0.9999
"""Least cosine with the same graph as it stands."""


def run(graph: ir.Model, x: np.ndarray, *, optimized: bool = True) -> np.ndarray:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if not optimized:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(
        serialize(graph), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    a, b = (array.astype(np.float64).ravel() for array in (one, other))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


LAYERS = {
    "Conv": ("float[n,16,6,6] x", "Conv<pads=[1,1,1,1]>", [32, 16, 3, 3], [32, 32, 3, 3], 0),
    "depthwise": ("float[n,32,6,6] x", "Conv<group=32>", [32, 1, 3, 3], [32, 1, 3, 3], 0),
    "ConvTranspose": ("float[n,16,6,6] x", "ConvTranspose", [16, 32, 3, 3], [32, 32, 3, 3], 1),
    "Gemm": ("float[n,16] x", "Gemm", [16, 32], [32, 32], 1),
    "turned Gemm": ("float[n,16] x", "Gemm<transB=1>", [32, 16], [32, 32], 0),
}


def layers(kind: str, tiny: float, bias: float) -> ir.Model:
    """Two layers with a Relu between, the first with channels of tiny weights and large biases."""
    x, operator, first, second, axis = LAYERS[kind]
    graph = model(
        f"g ({x}, float w1, float[32] b1, float w2, float[32] b2) => (float y)"
        f"{{ a = {operator}(x, w1, b1)\n r = Relu(a)\n y = {operator}(r, w2, b2) }}",
        w1=first, b1=[32], w2=second, b2=[32],
    )  # fmt: skip
    weights = np.moveaxis(graph.graph.initializers["w1"].const_value.numpy(), axis, 0).copy()
    weights[:4] *= tiny
    weights[4] = 0
    biases = graph.graph.initializers["b1"].const_value.numpy().copy()
    biases[:5] = bias * np.array([5, -4, 3, 2, 7], np.float32)
    for name, array in (("w1", np.moveaxis(weights, 0, axis)), ("b1", biases)):
        stored = ir.tensor(np.ascontiguousarray(array), name=name)
        graph.graph.initializers[name].const_value = stored
    for name, shape in (("w1", first), ("w2", second)):
        graph.graph.initializers[name].shape = ir.Shape(shape)
    graph.graph.outputs[0].shape = None
    return graph


def quantized(graph: ir.Model, policy, left: tuple[str, ...] = ()) -> tuple[ir.Model, np.ndarray]:
    shape = [d if isinstance(d, int) else 16 for d in graph.graph.inputs[0].shape]
    x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    data = open_dataset({"x": x})
    choice = calibrate(graph, data, policy, CalibrationOptions(method="minmax"))
    nodes = [name for name in choice.integer if name not in left]
    return quantize_static(graph, nodes, choice.ranges, policy, weight_bits=8), x


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_biases_survive_beside_tiny_weights(kind: str, half: bool) -> None:
    policy = trt_policy()
    graph = layers(kind, 1e-9, 1.0)
    made, x = quantized(graph, policy)
    made = halved(made, ()) if half else made
    assert sum(map(is_rounded, made.graph)) <= 2
    expected = run(made, x, optimized=False)
    assert cosine(run(made, x), expected) > PLAIN
    assert cosine(expected, run(graph, x)) > 0.999


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(sorted(LAYERS)),
    tiny=st.sampled_from([1e-12, 1e-6, 1e-3, 0.02, 0.2]),
    bias=st.sampled_from([1e-4, 0.1, 3.0, 50.0]),
    half=st.booleans(),
    per_channel=st.booleans(),
)
def test_a_plain_session_computes_what_the_graph_says(
    kind: str, tiny: float, bias: float, half: bool, per_channel: bool
) -> None:
    policy = trt_policy().with_schemes(granularity="channel" if per_channel else "tensor")
    made, x = quantized(layers(kind, tiny, bias), policy)
    made = halved(made, ()) if half else made
    assert cosine(run(made, x), run(made, x, optimized=False)) > 0.9995


def test_layers_that_stay_float_are_not_rounded_by_the_runtime() -> None:
    graph = model(
        """g (float[n,16,6,6] x, float[32,16,3,3] w1, float[32] b1, float[32,32,3,3] w2,
              float[32] b2, float[32,32,3,3] w3, float[32] b3) => (float[n,32,6,6] y)
        {
            a = Conv<pads=[1,1,1,1]>(x, w1, b1)
            r = Relu(a)
            c = Conv<pads=[1,1,1,1]>(r, w2, b2)
            s = Relu(c)
            y = Conv<pads=[1,1,1,1]>(s, w3, b3)
        }""",
        w1=[32, 16, 3, 3], b1=[32], w2=[32, 32, 3, 3], b2=[32], w3=[32, 32, 3, 3], b3=[32],
    )  # fmt: skip
    outlier = graph.graph.initializers["w2"].const_value.numpy().copy()
    outlier[0] *= 1000  # with one scale for the tensor nothing is left of the others
    graph.graph.initializers["w2"].const_value = ir.tensor(outlier, name="w2")
    middle = graph.graph[2].name
    made, x = quantized(graph, ORT.policy("vnni"), (middle, "Relu_3"))
    assert shield_floats(made.graph) == 0, "it was done"
    layer = next(node for node in made.graph if node.name == middle)
    assert layer.inputs[0].producer().op_type == "DequantizeLinear"
    expected = run(made, x, optimized=False)
    assert cosine(run(made, x)[:, 1:], expected[:, 1:]) > 0.999
