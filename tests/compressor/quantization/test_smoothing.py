"""Smoothed graphs compute the same in float, and lose less as INT8."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor import Recipe, compress
from compressor.errors import RecipeError
from compressor.graph.files import save_model, serialize
from compressor.plan.plan import Plan
from compressor.quantization.dynamic import insert_dynamic, place_dynamic
from compressor.quantization.smoothing import choose_divisors, smoothed
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from exporters.ort.target import TARGET

pytestmark = pytest.mark.usefixtures("quick")

POLICY = TARGET.policy("avx2")
X = np.random.default_rng(1).standard_normal((24, 6, 64)).astype(np.float32)
LOUD = 3
"""The channel that the norm and the hidden units make large."""


def block(*, residual: bool) -> ir.Model:
    """A norm with a loud channel, a hidden layer behind Gelu, and perhaps a residual."""
    made = model(
        """g (float[n,6,64] x, float[64] scale, float[64] shift, float[64,128] w1, float[128] b1,
              float[128,64] w2) => (float[n,6,64] y)
        <float[n,6,64] m, float[n,6,128] h, float[n,6,128] b, float[n,6,128] a, float[n,6,64] o>
        {
            m = LayerNormalization(x, scale, shift)
            h = MatMul(m, w1)
            b = Add(h, b1)
            a = Gelu(b)
            o = MatMul(a, w2)
            y = Add(o, OTHER)
        }""".replace("OTHER", "m" if residual else "x"),
        scale=[64], shift=[64], w1=[64, 128], b1=[128], w2=[128, 64],
    )  # fmt: skip
    for name, factor in (("scale", 60.0), ("b1", 100.0)):
        value = made.graph.initializers[name]
        array = value.const_value.numpy().copy()
        array[LOUD] = factor
        value.const_value = ir.tensor(array, name=name)
    return made


def chosen(graph: ir.Model) -> dict[str, np.ndarray]:
    found, _ = choose_divisors(graph, open_dataset({"x": X}), POLICY, batch=8, memory=None)
    return found


def outputs(graph: ir.Model) -> np.ndarray:
    with TARGET.open(graph) as runner:
        return runner.run({"x": X})["y"]


def dynamic(graph: ir.Model) -> ir.Model:
    made = graph.clone()
    insert_dynamic(made, place_dynamic(graph, POLICY).integer, POLICY)
    return made


@pytest.mark.parametrize("residual", [False, True])
def test_float_outputs_stay_and_integer_ones_get_closer(residual: bool):
    graph = block(residual=residual)
    before = serialize(graph)
    divisors = chosen(graph)
    assert set(divisors) == {"m", "a"}
    assert divisors["m"][LOUD] > 5 * np.median(divisors["m"])
    assert min(divisor.min() for divisor in divisors.values()) >= 1.0
    made = smoothed(graph, divisors)
    assert serialize(graph) == before
    expected = outputs(graph)
    np.testing.assert_allclose(outputs(made), expected, rtol=1e-5, atol=1e-5 * expected.max())

    def noise(result: ir.Model) -> float:
        return float(np.square(outputs(dynamic(result)) - expected).sum())

    assert noise(made) < noise(graph) / 4


def test_a_norm_that_only_products_read_takes_the_divisor():
    divisors = chosen(block(residual=False))
    operators = [n.op_type for n in smoothed(block(residual=False), {"m": divisors["m"]}).graph]
    assert "Mul" not in operators
    operators = [n.op_type for n in smoothed(block(residual=True), {"m": divisors["m"]}).graph]
    assert operators.count("Mul") == 1, "the residual reads the value as it was"


def test_what_gains_nothing_is_left_alone():
    graph = block(residual=False)
    for name in ("scale", "b1"):
        array = np.full_like(graph.graph.initializers[name].const_value.numpy(), 1.0)
        graph.graph.initializers[name].const_value = ir.tensor(array, name=name)
    found, record = choose_divisors(graph, open_dataset({"x": X}), POLICY, batch=8, memory=None)
    assert not found
    assert {decision.verdict for decision in record.decisions} == {"left alone"}


@pytest.mark.parametrize(
    "divisors", [{"z": np.ones(64, np.float32)}, {"m": np.ones(3, np.float32)}]
)
def test_divisors_of_another_graph_are_refused(divisors: dict[str, np.ndarray]):
    with pytest.raises(RecipeError, match="does not fit the graph"):
        smoothed(block(residual=False), divisors)


def test_norms_are_kept_apart_from_additions():
    graph = model(
        """g (float[n,6,64] x, float[64] scale, float[64] shift, float[64,64] w)
            => (float[n,6,64] y) <float[n,6,64] h, float[n,6,64] s>
        { h = MatMul(x, w) s = Add(h, x) y = LayerNormalization(s, scale, shift) }""",
        scale=[64], shift=[64], w=[64, 64],
    )  # fmt: skip
    assert "SkipLayerNormalization" in TARGET.integer_nodes(graph)[1]
    made = graph.clone()
    assert TARGET.keep_norms_plain(made) == 1
    assert "SkipLayerNormalization" not in TARGET.integer_nodes(made)[1]
    np.testing.assert_allclose(outputs(made), outputs(graph), rtol=1e-5, atol=1e-5)


def in_rows() -> ir.Model:
    """A norm with a loud channel, and two products of rows of it, with their biases."""
    made = model(
        """g (float[n,6,64] x, float[64] scale, float[64] shift, float[64,32] w1, float[32] b1,
              float[64,32] w2, float[32] b2) => (float[n,6,32] y, float[n,6,32] z)
        <float[n,6,64] m, float[rows,64] flat, float[rows,32] p, float[rows,32] q>
        {
            m = LayerNormalization(x, scale, shift)
            wide = Constant<value_ints = [-1, 64]>()
            back = Constant<value_ints = [-1, 6, 32]>()
            flat = Reshape(m, wide)
            p = Gemm(flat, w1, b1)
            q = Gemm(flat, w2, b2)
            y = Reshape(p, back)
            z = Reshape(q, back)
        }""",
        scale=[64], shift=[64], w1=[64, 32], b1=[32], w2=[64, 32], b2=[32],
    )  # fmt: skip
    value = made.graph.initializers["scale"]
    array = value.const_value.numpy().copy()
    array[LOUD] = 60.0
    value.const_value = ir.tensor(array, name="scale")
    return made


def test_products_of_rows_are_smoothed_as_those_of_sequences_are():
    graph = in_rows()
    divisors = chosen(graph)
    assert set(divisors) == {"m"}
    assert divisors["m"].argmax() == LOUD
    found = smoothed(graph, divisors)
    assert [node.op_type for node in found.graph].count("Mul") == 0, "the norm's constants take it"
    np.testing.assert_allclose(outputs(found), outputs(graph), rtol=1e-4, atol=1e-3)


def test_a_smoothed_plan_is_replayed_byte_for_byte(tmp_path: Path):
    source, out = tmp_path / "net.onnx", tmp_path / "out"
    save_model(block(residual=True), source)
    recipe = Recipe(
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05),
    )
    compress(source, calibration={"x": X}, recipe=recipe, output=out)
    plan = Plan.load(out / "plan.json").graphs["model"]
    assert set(plan.smooth) == {"m", "a"}
    compress(source, plan=out / "plan.json", output=tmp_path / "again")
    for name in ("model.onnx", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
