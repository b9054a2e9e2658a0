"""Bias correction: channels of integer layers get the mean that they have in float."""

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calibration.dataset import open_dataset
from compressor.errors import RecipeError
from compressor.graph.invariants import check
from compressor.graph.session import open_session
from compressor.plan.plan import GraphPlan
from compressor.quantization.bias import add_corrections, correct, restored, stored
from compressor.quantization.placement import place, quantized_values
from compressor.quantization.static import quantize_static
from exporters.ort.target import TARGET

POLICY = TARGET.policy("avx2")


def images(samples: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 32, 8, 8)).astype(np.float32)


def chain() -> ir.Model:
    """Two convolutions and nothing in between that would hide a shift."""
    return model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w1, float[32,32,3,3] w2, float[32] b2)
            => (float[n,32,8,8] y)
        {
            h = Conv<pads=[1,1,1,1]>(x, w1)
            y = Conv<pads=[1,1,1,1]>(h, w2, b2)
        }""",
        w1=[32, 32, 3, 3], w2=[32, 32, 3, 3], b2=[32],
    )  # fmt: skip


def decided(graph: ir.Model, spans: dict[str, tuple[float, float]]):
    """Everything that can be integer, with ranges as given or wide enough."""
    integer = place(graph, POLICY).integer
    names = [value.name or "" for value in quantized_values(graph, integer, POLICY)]
    return integer, {name: spans.get(name, (-60.0, 60.0)) for name in names}


def corrected(graph: ir.Model, x: np.ndarray, spans=None, **options):
    integer, ranges = decided(graph, spans or {})
    simulated = quantize_static(
        graph, integer, ranges, replace(POLICY, bias="float"), weight_bits=7
    )
    found = correct(graph, simulated, integer, open_dataset({"x": x}), **options)
    return found, integer, ranges


def outputs(graph: ir.Model, integer, ranges, x: np.ndarray, bias=None):
    """Of the float graph and of the integer one."""
    made = quantize_static(graph, integer, ranges, POLICY, weight_bits=7, bias=bias or {})
    check(made, "test")
    return [open_session(m, threads=1).run(None, {"x": x})[0] for m in (graph, made)]


def shift(pair: list[np.ndarray]) -> np.ndarray:
    axes = (0, *range(2, pair[0].ndim))
    return (pair[1].astype(np.float64) - pair[0]).mean(axis=axes)


def test_means_are_those_of_float_though_what_is_read_was_shifted():
    """A clipped input shifts both layers; the second may only be corrected for what is left."""
    graph, x = chain(), images() + 1
    spans = {"x": (-1.0, 2.0), "h": (-30.0, 30.0)}
    found, integer, ranges = corrected(graph, x, spans)
    before = shift(outputs(graph, integer, ranges, x))
    after = shift(outputs(graph, integer, ranges, x, found))
    assert np.abs(before).max() > 0.5
    assert np.abs(after).max() < 0.01 * np.abs(before).max()
    assert np.abs(found["Conv_1"]).max() < 0.3 * np.abs(before).max(), "mostly done in front"


def test_a_residual_network_comes_closer_to_float():
    graph, x = residual(), images()
    spans = {"x": (-4.0, 4.0), "r1": (0.0, 12.0), "c2": (-25.0, 25.0), "r2": (0.0, 30.0)}
    found, integer, ranges = corrected(graph, x, spans | {"p": (0.0, 10.0), "f": (0.0, 10.0)})
    assert found.keys() == {"Conv_0", "Conv_2", "Gemm_7"}
    fresh = images(seed=5)
    plain = outputs(graph, integer, ranges, fresh)
    better = outputs(graph, integer, ranges, fresh, found)
    errors = [np.square(pair[0] - pair[1]).sum() for pair in (plain, better)]
    assert errors[1] < 0.7 * errors[0]


def test_neither_batch_nor_memory_change_what_is_found():
    graph, x = residual(), images()
    whole, _, _ = corrected(graph, x)
    for options in ({"batch": 5}, {"memory": 300_000}):
        parts, _, _ = corrected(graph, x, **options)
        for name, correction in whole.items():
            np.testing.assert_allclose(parts[name], correction, atol=1e-4)


def test_a_baked_in_batch_is_filled_up():
    text = "g (float[{}, 32, 8, 8] x, float[32,32,3,3] w) => (float[{}, 32, 8, 8] y)"
    body = "{ y = Conv<pads=[1,1,1,1]>(x, w) }"
    free, fixed = (model(text.format(n, n) + body, w=[32, 32, 3, 3]) for n in ("n", 8))
    one, other = (corrected(graph, images())[0]["Conv_0"] for graph in (free, fixed))
    np.testing.assert_allclose(other, one, atol=1e-4)
    assert corrected(fixed, images(13))[0]["Conv_0"].shape == (32,)


def tokens() -> ir.Model:
    return model(
        """g (float[n,6,32] x, float[32,64] w, float[64] b, float[64,32] v)
            => (float[n,6,64] y, float[64] c, float[n,6,32] z)
        {
            m = MatMul(x, w)
            y = Add(b, m)
            c = Neg(b)
            z = MatMul(y, v)
        }""",
        w=[32, 64], b=[64], v=[64, 32],
    )  # fmt: skip


def test_a_product_is_corrected_in_the_sum_behind_it_and_no_other_reader_sees_it():
    graph = tokens()
    x = np.random.default_rng(0).standard_normal((32, 6, 32)).astype(np.float32) + 1
    found, integer, ranges = corrected(graph, x, {"x": (-0.5, 1.5), "m": (-9.0, 9.0)})
    assert found.keys() == {"MatMul_0"}, "the other has no bias"
    plain, better = (
        quantize_static(graph, integer, ranges, POLICY, weight_bits=7, bias=bias)
        for bias in ({}, found)
    )
    feeds = {"x": x}
    expected, before, after = (
        open_session(m, threads=1).run(None, feeds) for m in (graph, plain, better)
    )
    shifts = [np.abs((run[0] - expected[0]).mean(axis=(0, 1))).max() for run in (before, after)]
    assert shifts[0] > 0.1
    assert shifts[1] < 0.01
    np.testing.assert_array_equal(after[1], expected[1])


def test_layers_that_share_a_bias_are_corrected_apart_and_none_gets_one():
    graph = model(
        """g (float[n,32,8,8] x, float[32,32,3,3] w, float[32,32,3,3] v, float[32] b)
            => (float[n,32,8,8] y, float[n,32,8,8] z, float[n,32,8,8] u)
        {
            y = Conv<pads=[1,1,1,1]>(x, w, b)
            z = Conv<pads=[1,1,1,1]>(x, v, b)
            u = Conv<pads=[1,1,1,1]>(x, w)
        }""",
        w=[32, 32, 3, 3], v=[32, 32, 3, 3], b=[32],
    )  # fmt: skip
    old = graph.graph.initializers["b"].const_value.numpy().copy()
    changes = {name: np.full(32, i, np.float32) for i, name in enumerate(("Conv_0", "Conv_1"), 1)}
    changes["Conv_2"] = np.arange(32, dtype=np.float32)
    add_corrections(graph, changes)
    biases = [node.inputs[2].const_value.numpy() for node in graph.graph]
    np.testing.assert_array_equal(biases[0], old + 1)
    np.testing.assert_array_equal(biases[1], old + 2)
    np.testing.assert_array_equal(biases[2], np.arange(32))
    check(graph, "test")


def test_without_a_place_for_a_bias_there_is_nothing_to_correct():
    graph = model(
        """g (float[n,6,64] x, float[64,64] w) => (float[n,6,64] y) <float[n,6,64] h>
        {
            h = MatMul(x, w)
            y = Tanh(h)
        }""",
        w=[64, 64],
    )
    found, _, _ = corrected(graph, np.ones((4, 6, 64), np.float32))
    assert found == {}


def test_time_that_is_over_corrects_nothing():
    found, _, _ = corrected(residual(), images(), expired=lambda: True)
    assert found is None


def test_what_does_not_fit_is_refused_with_the_node():
    one = np.ones(3, np.float32)
    with pytest.raises(RecipeError, match="3 output channels of 'Conv_0', which has 32"):
        add_corrections(residual(), {"Conv_0": one})
    with pytest.raises(RecipeError, match="of 'Relu_1', which has none"):
        add_corrections(residual(), {"Relu_1": one})
    with pytest.raises(RecipeError, match="of 'elsewhere', which has none"):
        add_corrections(residual(), {"elsewhere": one})
    with pytest.raises(RecipeError, match="the bias of 'Conv_0' is no float32 array"):
        restored({"Conv_0": b"12345"})


@settings(deadline=None)
@given(arrays.arrays(np.float32, st.integers(0, 9), elements=st.floats(width=32)))
def test_the_plan_keeps_every_bit(array: np.ndarray):
    plan = GraphPlan(graph="g", baseline="folded", ship="int8", bias=stored({"n": array}))
    again = GraphPlan.model_validate_json(plan.model_dump_json())
    assert again == plan
    assert restored(again.bias)["n"].tobytes() == array.tobytes()
