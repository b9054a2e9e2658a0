"""The error at every layer of the INT8 graph, against arrays computed without it."""

import math

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor.errors import GraphError
from compressor.graph.files import serialize
from compressor.quantization import noise
from compressor.quantization.noise import Noise, layer_noise, points_of, sqnr
from compressor.quantization.placement import restricted
from compressor.quantization.replay import CEILING
from compressor.quantization.static import (
    CalibrationOptions,
    StaticChoice,
    calibrate,
    quantize_static,
)
from exporters.ort.target import TARGET

POLICY = TARGET.policy("avx2")


def images(samples: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 32, 8, 8)).astype(np.float32)


def int8(graph: ir.Model, values: np.ndarray) -> tuple[ir.Model, StaticChoice]:
    options = CalibrationOptions("minmax", batch=5)
    chosen = calibrate(graph, open_dataset({"x": values}), POLICY, options)
    made = quantize_static(graph, chosen.integer, chosen.ranges, POLICY, weight_bits=7)
    return made, chosen


def measured(graph: ir.Model, values: np.ndarray, memory: int | None = None) -> dict[str, Noise]:
    made, chosen = int8(graph, values)
    data = open_dataset({"x": values})
    found = layer_noise(graph, made, chosen.integer, data, POLICY, memory=memory)
    return {one.point.node: one for one in found}


def exposed(graph: ir.Model, name: str) -> ir.Model:
    """A copy with one more output."""
    copy = graph.clone()
    copy.graph.outputs.append(
        next(v for node in copy.graph for v in node.outputs if v.name == name)
    )
    return copy


def measured_sqnr(expected: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


def test_the_error_is_that_of_the_two_graphs_at_the_same_point():
    graph, values = residual(), images()
    made, _ = int8(graph, values)
    found = measured(graph, values)
    assert list(found) == ["Conv_0", "Conv_2", "Add_3", "GlobalAveragePool_5", "Gemm_7"]
    assert all(one.point.integer for one in found.values())
    points = {
        "Conv_0": ("r1", "r1_dequantized"),
        "Conv_2": ("c2", "c2_dequantized"),
        "Add_3": ("r2", "r2_dequantized"),
        "Gemm_7": ("y", "y"),
    }
    for node, (name, dequantized) in points.items():
        assert found[node].point.value == name
        a = graph if name == "y" else exposed(graph, name)
        b = made if name == "y" else exposed(made, dequantized)
        with TARGET.open(a) as one, TARGET.open(b) as other:
            expected = one.run({"x": values})[name]
            result = other.run({"x": values})[dequantized]
        assert found[node].sqnr == pytest.approx(measured_sqnr(expected, result), abs=0.05)


def test_the_own_error_is_that_of_the_layer_as_the_only_integer_one():
    graph, values = residual(), images()
    _, chosen = int8(graph, values)
    whole = measured(graph, values)
    for node in ("Conv_0", "Conv_2", "Gemm_7"):
        integer = restricted(graph, chosen.integer, {node}, POLICY)
        assert node in integer
        made = quantize_static(graph, integer, chosen.ranges, POLICY, weight_bits=7)
        data = open_dataset({"x": values})
        alone = {n.point.node: n for n in layer_noise(graph, made, integer, data, POLICY)}
        own = whole[node].own
        assert own is not None
        assert own == pytest.approx(alone[node].own, abs=0.05)
        if alone[node].point.value == whole[node].point.value:
            assert own == pytest.approx(alone[node].sqnr, abs=0.05)
    assert whole["Conv_0"].own == pytest.approx(whole["Conv_0"].sqnr, abs=0.05)
    assert whole["Gemm_7"].own > whole["Gemm_7"].sqnr + 1, "it inherits most of its error"


def test_integer_kernels_stay_what_they_are(monkeypatch: pytest.MonkeyPatch):
    graph, values = residual(), images(8)
    seen: list[ir.Model] = []
    opened = noise.open_session
    monkeypatch.setattr(
        noise, "open_session", lambda model, **o: (seen.append(model), opened(model, **o))[1]
    )
    measured(graph, values)
    integer, _ = TARGET.integer_nodes(seen[0])
    expected, _ = TARGET.integer_nodes(int8(graph, values)[0])
    for kernel in ("QLinearConv", "QLinearAdd", "QGemm"):
        assert integer[kernel] >= expected[kernel] > 0


def test_models_stay_as_they_are():
    graph, values = residual(), images(8)
    made, chosen = int8(graph, values)
    before = serialize(graph), serialize(made)
    layer_noise(graph, made, chosen.integer, open_dataset({"x": values}), POLICY)
    assert (serialize(graph), serialize(made)) == before


def test_inputs_with_defaults_are_read_as_such():
    """Old exporters list weights among the inputs."""
    text = """g (float[n,32] x, float[32,32] w, float[32,32] v) => (float[n,32] y)
        { a = MatMul(x, w)
          y = MatMul(a, v) }"""
    graph, listed = (model(text, w=[32, 32], v=[32, 32]) for _ in range(2))
    listed.graph.inputs.append(listed.graph.initializers["w"])
    values = np.random.default_rng(0).standard_normal((20, 32)).astype(np.float32)
    chosen = int8(listed, values)[1]
    assert chosen.integer == ("MatMul_1",)
    found = [
        layer_noise(
            one,
            quantize_static(one, chosen.integer, chosen.ranges, POLICY, weight_bits=7),
            chosen.integer,
            open_dataset({"x": values}),
            POLICY,
        )
        for one in (graph, listed)
    ]
    assert found[0] == found[1]


def test_windows_and_batches_do_not_change_the_figures():
    whole, cut = measured(residual(), images()), measured(residual(), images(), memory=50_000)
    assert whole.keys() == cut.keys()
    for node, one in whole.items():
        assert cut[node].sqnr == pytest.approx(one.sqnr, abs=0.01)
        assert cut[node].own == pytest.approx(one.own, abs=0.01)


def test_a_baked_in_batch_counts_each_sample_once():
    def convolution(batch: str) -> ir.Model:
        return model(
            f"""g (float[{batch},32,8,8] x, float[32,32,3,3] w) => (float[{batch},32,8,8] y)
            {{ y = Conv<pads=[1,1,1,1]>(x, w) }}""",
            w=[32, 32, 3, 3],
        )

    free, fixed = (measured(convolution(batch), images(7)) for batch in ("n", "5"))
    assert fixed["Conv_0"].sqnr == pytest.approx(free["Conv_0"].sqnr, abs=0.01)


def test_float_layers_carry_the_error_of_what_is_in_front_of_them():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v) => (float[n,32,8,8] y)
        <float[n,32,8,8] e, float[n,32,8,8] a, float[n,32,8,8] t>
        {
            e = Exp(x)
            a = Conv<pads=[1,1,1,1]>(e, w)
            t = Tanh(a)
            y = Conv<pads=[1,1,1,1]>(t, v)
        }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    found = measured(graph, images(8))
    assert found["Exp_0"].sqnr == CEILING, "nothing in front of it is quantized"
    assert found["Tanh_2"].own is None
    assert not found["Tanh_2"].point.integer
    assert found["Tanh_2"].sqnr < found["Conv_1"].sqnr + 10
    assert 10 < found["Conv_3"].sqnr < found["Conv_3"].own + 0.01


def test_pads_and_other_movers_are_looked_through():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v, int64[8] pads)
              => (float[n,32,8,8] y)
        {
            a = Conv<pads=[1,1,1,1]>(x, w)
            r = Relu(a)
            p = Pad(r, pads)
            y = Conv(p, v)
        }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3],
    )  # fmt: skip
    pads = next(value for value in graph.graph.inputs if value.name == "pads")
    graph.graph.inputs.remove(pads)
    pads.const_value = ir.tensor(np.array([0, 0, 1, 1, 0, 0, 1, 1]), name="pads")
    graph.graph.register_initializer(pads)
    found = measured(graph, images(8))
    assert list(found) == ["Conv_0", "Conv_3"]
    assert 20 < found["Conv_3"].sqnr < found["Conv_3"].own


def test_what_is_no_float_is_no_layer():
    graph = model(
        """g (float[n,4] x) => (float[n,4] y, int64[2] s)
        <int64[2] s, float[n,4] y>
        {
            s = Shape(x)
            y = Exp(x)
        }"""
    )
    assert [point.node for point in points_of(graph, (), POLICY)] == ["Exp_1"]


def test_a_runtime_that_refuses_is_told_as_an_error(monkeypatch: pytest.MonkeyPatch):
    class Refusing:
        def get_inputs(self) -> list[object]:
            return []

        def run(self, *_: object) -> None:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(noise, "open_session", lambda *_, **__: Refusing())
    with pytest.raises(GraphError, match="out of memory"):
        measured(residual(), images(8))


def test_decibels_have_ends():
    assert sqnr(100.0, 1.0) == pytest.approx(20)
    assert sqnr(1.0, 0.0) == CEILING
    assert sqnr(0.0, 0.0) == CEILING
    assert sqnr(0.0, 1.0) == -CEILING
    assert sqnr(1e300, 1e-300) == CEILING
    assert math.isnan(sqnr(math.inf, math.inf))
    assert math.isnan(sqnr(1.0, math.nan))


def test_a_pass_that_takes_too_long_ends_after_a_batch():
    graph, values = residual(), images(40)
    made, chosen = int8(graph, values)
    data = open_dataset({"x": values})
    found = layer_noise(graph, made, chosen.integer, data, POLICY, seconds=0.0)
    whole = layer_noise(graph, made, chosen.integer, data, POLICY)
    assert [one.point for one in found] == [one.point for one in whole]
    assert all(
        one.sqnr == pytest.approx(two.sqnr, abs=3) for one, two in zip(found, whole, strict=True)
    )
