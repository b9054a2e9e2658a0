"""Equalized graphs compute the same in float, and lose less as INT8."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.dataset import open_dataset
from compressor import Recipe, compress
from compressor.errors import RecipeError
from compressor.graph.files import save_model, serialize
from compressor.plan.plan import Plan
from compressor.quantization.equalization import by_weights, choose_equalization
from compressor.quantization.pairs import find_pairs
from compressor.quantization.smoothing import smoothed
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from exporters.ort.target import TARGET

pytestmark = pytest.mark.usefixtures("quick")

POLICY = TARGET.policy("avx2")
X = np.random.default_rng(1).standard_normal((32, 16, 8, 8)).astype(np.float32)


def inverted(activation: str = "Relu", spread: float = 0.0) -> ir.Model:
    """Expansion, depthwise and projection, whose hidden channels differ by e^spread."""
    act = {
        "Relu": "Relu({})",
        "LeakyRelu": "LeakyRelu<alpha=0.2>({})",
        "PRelu": "PRelu({}, slope)",
        "Clip": "Clip({}, zero, six)",
        "none": "Identity({})",
    }[activation]
    made = model(
        f"""g (float[n,16,8,8] x, float[32,16,1,1] w1, float[32] b1, float[32,1,3,3] w2,
              float[32] b2, float[16,32,1,1] w3, float[32,1,1] slope)
            => (float[n,16,8,8] y)
        <float zero = {{0.0}}, float six = {{6.0}}, float[n,32,8,8] e, float[n,32,8,8] f,
         float[n,32,8,8] d, float[n,32,8,8] h>
        {{
            e = Conv(x, w1, b1)
            f = {act.format("e")}
            d = Conv<group=32, pads=[1,1,1,1]>(f, w2, b2)
            h = {act.format("d")}
            y = Conv(h, w3)
        }}""",
        w1=[32, 16, 1, 1], b1=[32], w2=[32, 1, 3, 3], b2=[32], w3=[16, 32, 1, 1], slope=[32, 1, 1],
    )  # fmt: skip
    factors = np.exp(spread * np.random.default_rng(3).standard_normal((2, 32)))
    column = factors.reshape(2, 32, 1, 1, 1)
    for name, factor in {
        "w1": column[0],
        "b1": factors[0],
        "w2": column[1] / column[0],
        "b2": factors[1],
        "w3": 1 / column[1].reshape(1, 32, 1, 1),
    }.items():
        value = made.graph.initializers[name]
        array = (value.const_value.numpy() * factor).astype(np.float32)
        value.const_value = ir.tensor(array, name=name)
    return made


def grouped() -> ir.Model:
    """Two readers of one value, one of them grouped, and a chain without activations."""
    return model(
        """g (float[n,16,8,8] x, float[24,16,3,3] w1, float[12,6,1,1] w2, float[8,24,1,1] w3,
              float[8] b3, float[4,8,1,1] w4) => (float[n,12,8,8] y, float[n,4,8,8] z)
        <float[n,24,8,8] a, float[n,8,8,8] b>
        {
            a = Conv<pads=[1,1,1,1]>(x, w1)
            y = Conv<group=4>(a, w2)
            b = Conv(a, w3, b3)
            z = Conv(b, w4)
        }""",
        w1=[24, 16, 3, 3], w2=[12, 6, 1, 1], w3=[8, 24, 1, 1], b3=[8], w4=[4, 8, 1, 1],
    )  # fmt: skip


def chosen(graph: ir.Model) -> dict[str, np.ndarray]:
    data = open_dataset({"x": X})
    return choose_equalization(graph, data, POLICY, batch=8, memory=None)[0]


def outputs(graph: ir.Model) -> dict[str, np.ndarray]:
    with TARGET.open(graph) as runner:
        return runner.run({"x": X})


def assert_same(made: ir.Model, graph: ir.Model) -> None:
    found = outputs(made)
    for name, expected in outputs(graph).items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-5 * expected.max())


def noise(graph: ir.Model, original: ir.Model) -> float:
    data, options = open_dataset({"x": X}), CalibrationOptions("minmax")
    choice = calibrate(graph, data, POLICY, options)
    made = quantize_static(graph, choice.integer, choice.ranges, POLICY, weight_bits=7)
    return float(np.square(outputs(made)["y"] - outputs(original)["y"]).sum())


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "PRelu"])
def test_float_outputs_stay_and_integer_ones_get_closer(activation: str):
    graph = inverted(activation, spread=1.5)
    before = serialize(graph)
    divisors = chosen(graph)
    assert set(divisors) == {"f", "h"}
    made = smoothed(graph, divisors)
    assert serialize(graph) == before
    assert [node.op_type for node in made.graph] == [node.op_type for node in graph.graph]
    assert_same(made, graph)
    if activation == "Relu":
        assert noise(made, graph) < noise(graph, graph) / 4


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([inverted, grouped]))
def test_any_divisors_are_exact(seed: int, build) -> None:
    graph, rng = build(), np.random.default_rng(seed)
    pairs = find_pairs(graph)
    divisors = {n: np.exp(rng.uniform(-4, 4, p.channels)) for n, p in pairs.items()}
    assert_same(smoothed(graph, divisors), graph)


def test_pairs_are_those_whose_readers_are_all_convolutions():
    assert set(find_pairs(inverted())) == {"f", "h"}
    assert set(find_pairs(grouped())) == {"a", "b"}
    for other in ("Clip", "none"):
        assert not find_pairs(inverted(other)), other
    shown = inverted()
    value = next(node.outputs[0] for node in shown.graph if node.outputs[0].name == "f")
    shown.graph.outputs.append(value)
    assert set(find_pairs(shown)) == {"h"}


def test_a_reader_in_the_branch_of_an_if_is_in_no_pair():
    graph = ir.from_onnx_text("""<ir_version: 8, opset_import: ["": 17]>
    g (float[n,3,4,4] x, bool flag) => (float[n,2,4,4] y)
    <float[2,3,1,1] w = {1, 2, 3, 4, 5, 6}, float[2,2,1,1] v = {1, 2, 3, 4}> {
        h = Conv(x, w)
        y = If(flag) <then_branch = a () => (float[n,2,4,4] s) { s = Conv(h, v) },
                      else_branch = b () => (float[n,2,4,4] t) { t = Conv(h, v) }>
    }""")
    assert not find_pairs(graph)


def test_a_clip_is_told_of():
    data = open_dataset({"x": X})
    found, record = choose_equalization(inverted("Clip"), data, POLICY, batch=8, memory=None)
    assert not found
    assert [decision.subject for decision in record.decisions] == ["f", "h"]
    assert all("ReLU6" in decision.reason for decision in record.decisions)


def test_weights_converge_to_equal_magnitudes():
    """Equation 9: what writes a channel and what reads it are as large as each other."""
    graph = inverted(spread=1.0)
    divisors = by_weights(find_pairs(graph))
    made = smoothed(graph, divisors)
    weights = {node.outputs[0].name: node.inputs[1].const_value.numpy() for node in made.graph
               if node.op_type == "Conv"}  # fmt: skip
    magnitudes = {name: np.abs(weight) for name, weight in weights.items()}
    first = magnitudes["e"].max(axis=(1, 2, 3))
    second = magnitudes["d"].max(axis=(1, 2, 3))
    third = magnitudes["y"].max(axis=(0, 2, 3))
    np.testing.assert_allclose(first, second, rtol=1e-2)
    np.testing.assert_allclose(second, third, rtol=1e-2)


def test_a_channel_that_nobody_writes_or_reads_keeps_its_scale():
    graph = inverted(spread=1.0)
    for name in ("w1", "b1"):
        value = graph.graph.initializers[name]
        array = value.const_value.numpy().copy()
        array[5] = 0
        value.const_value = ir.tensor(array, name=name)
    assert by_weights(find_pairs(graph))["f"][5] == 1
    made = smoothed(graph, chosen(graph))
    assert_same(made, graph)


def test_what_gains_nothing_is_left_alone():
    data = open_dataset({"x": X})
    graph = inverted()
    for name in ("w1", "w2"):
        value = graph.graph.initializers[name]
        array = np.sign(value.const_value.numpy()) * np.float32(0.1)
        value.const_value = ir.tensor(array, name=name)
    found, record = choose_equalization(graph, data, POLICY, batch=8, memory=None)
    assert "f" not in found
    verdicts = {decision.subject: decision for decision in record.decisions}
    assert verdicts["f"].verdict == "left alone"
    assert "dB" in verdicts["f"].reason


def test_divisors_of_another_graph_are_refused():
    for divisors in ({"q": np.ones(32, np.float32)}, {"f": np.ones(3, np.float32)}):
        with pytest.raises(RecipeError, match="does not fit the graph"):
            smoothed(inverted(), divisors)


def test_neither_batch_nor_memory_change_what_is_chosen():
    graph, data = inverted(spread=1.5), open_dataset({"x": X})
    whole = chosen(graph)
    parts, _ = choose_equalization(graph, data, POLICY, batch=3, memory=20_000)
    assert parts.keys() == whole.keys()
    for name, divisor in whole.items():
        np.testing.assert_allclose(parts[name], divisor, rtol=1e-4)


def test_an_equalized_plan_is_replayed_byte_for_byte(tmp_path: Path):
    source, out = tmp_path / "net.onnx", tmp_path / "out"
    save_model(inverted(spread=1.5), source)
    recipe = Recipe(
        quantize=QuantizeOptions(keep_slower=True, cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05),
    )
    report = compress(source, calibration={"x": X}, recipe=recipe, output=out)
    plan = Plan.load(out / "plan.json").graphs["model"]
    assert set(plan.smooth) == {"f", "h"}
    stage = next(stage for stage in report.stages if stage.name == "equalize layers")
    assert {d.verdict.partition(" by")[0] for d in stage.decisions} == {"equalized"}
    compress(source, plan=out / "plan.json", output=tmp_path / "again")
    for name in ("model.onnx", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
