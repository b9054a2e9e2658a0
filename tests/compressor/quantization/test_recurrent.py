"""LSTM as dynamic INT8: one operator in ONNX Runtime, close to float, and what it cannot take."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, tagger

from calibration.dataset import open_dataset
from compressor import Recipe, compress
from compressor.errors import RecipeError
from compressor.folding import fold
from compressor.graph.cost import macs, parameters
from compressor.graph.files import save_model, serialize
from compressor.plan.plan import GraphPlan, Plan
from compressor.plan.realize import realize
from compressor.quantization.dynamic import choose_dynamic, insert_dynamic, place_dynamic
from compressor.quantization.noise import layer_noise
from compressor.quantization.recurrent import place_recurrent
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.search.precision.region_latency import designs, fitted
from compressor.search.precision.regions import DYNAMIC, FLOAT, STATIC, Mix, mixed
from exporters.ort.target import TARGET

pytestmark = pytest.mark.usefixtures("quick")

POLICY = TARGET.policy("avx2")
RNG = np.random.default_rng(1)
INPUTS, HIDDEN, STEPS = 24, 16, 7


def lstm(
    attributes: str = "", *, directions: int = 1, more: str = "", operator: str = "LSTM"
) -> ir.Model:
    """Steps first: x (steps, n, inputs); `more` are inputs behind the bias, all of the graph."""
    gates, d, h = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator], directions, HIDDEN
    known = {
        "l": "int32[n] l", "h0": f"float[{d},n,{h}] h0", "c0": f"float[{d},n,{h}] c0",
        "p": f"float[{d},{3 * h}] p",
    }  # fmt: skip
    declared = "".join(f", {known[name]}" for name in more.split(",") if name in known)
    rest = f", {more}" if more else ""
    outputs = f"float[s,{d},n,{h}] y, float[{d},n,{h}] yh"
    results = "y, yh"
    if operator == "LSTM":
        outputs, results = f"{outputs}, float[{d},n,{h}] yc", f"{results}, yc"
    return model(
        f"""g (float[s,n,{INPUTS}] x, float w, float r, float b{declared}) => ({outputs})
        {{ {results} = {operator}<hidden_size={h}{attributes}>(x, w, r, b{rest}) }}""",
        w=[d, gates * h, INPUTS], r=[d, gates * h, h], b=[d, 2 * gates * h],
    )  # fmt: skip


def feeds_of(directions: int, batch: int) -> dict[str, np.ndarray]:
    def normal(*shape: int) -> np.ndarray:
        return RNG.standard_normal(shape).astype(np.float32)

    return {
        "x": normal(STEPS, batch, INPUTS),
        "l": RNG.integers(1, STEPS + 1, batch).astype(np.int32),
        "h0": np.tanh(normal(directions, batch, HIDDEN)),
        "c0": normal(directions, batch, HIDDEN),
        "p": 0.1 * normal(directions, 3 * HIDDEN),
    }


def dynamic(graph: ir.Model) -> ir.Model:
    made = graph.clone()
    insert_dynamic(made, place_dynamic(graph, POLICY).integer, POLICY)
    return made


def sqnr(graph: ir.Model, result: ir.Model, feeds: dict[str, np.ndarray]) -> dict[str, float]:
    with TARGET.open(graph) as a, TARGET.open(result) as b:
        expected, found = a.run(feeds), b.run(feeds)
    return {
        name: 10 * float(np.log10(np.sum(y**2) / np.sum((y - found[name]) ** 2)))
        for name, y in expected.items()
    }


def recipe(mode: str = "int8-dynamic", **budget: str) -> Recipe:
    return Recipe(
        quantize=QuantizeOptions(mode=mode, keep_slower=True, cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05, metric="cosine" if budget else None),
        budget=BudgetOptions(**budget),
    )


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize(
    ("attributes", "directions", "more"),
    [
        ("", 1, ""),
        (', direction="reverse"', 1, ""),
        (', direction="bidirectional"', 2, ""),
        (', direction="bidirectional"', 2, "l,h0,c0,p"),
        ("", 1, ",h0,c0"),
        (", clip=0.5, input_forget=1", 1, ""),
        (', activations=["Sigmoid", "Relu", "Tanh"]', 1, ""),
        (", layout=0", 1, ""),
    ],
    ids=["forward", "reverse", "both", "every input", "states", "clip", "activations", "layout"],
)
def test_every_output_stays_close_under_its_name(
    attributes: str, directions: int, more: str, batch: int
):
    graph = lstm(attributes, directions=directions, more=more)
    before = serialize(graph)
    made = dynamic(graph)
    assert serialize(graph) == before
    assert [node.op_type for node in made.graph] == ["DynamicQuantizeLSTM"]
    assert made.graph[0].name == "LSTM_0"
    found = sqnr(graph, made, feeds_of(directions, batch))
    assert found.keys() == {"y", "yh", "yc"}
    assert min(found.values()) > 28


def test_an_initial_state_is_carried_over():
    graph = lstm(more=",h0,c0")
    made, feeds = dynamic(graph), feeds_of(1, 4)
    zero = feeds | {name: np.zeros_like(feeds[name]) for name in ("h0", "c0")}
    with TARGET.open(made) as runner:
        assert not np.allclose(runner.run(feeds)["y"], runner.run(zero)["y"], atol=0.05)


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("bits", [7, 8])
def test_weights_are_stored_once_as_integers_of_the_policy(granularity: str, bits: int):
    graph = lstm(', direction="bidirectional"', directions=2)
    policy = POLICY.with_schemes(weight_bits=bits, granularity=granularity)
    made = graph.clone()
    insert_dynamic(made, ["LSTM_0"], policy)
    node = made.graph[0]
    arrays = {
        i: v.const_value.numpy()
        for i, v in enumerate(node.inputs)
        if v is not None and v.const_value is not None
    }
    scales = (2, 4 * HIDDEN) if granularity == "channel" else (2,)
    for name, index, scale in (("w", 1, 8), ("r", 2, 10)):
        stored, expected = arrays[index], graph.graph.initializers[name].const_value.numpy()
        assert stored.dtype == np.int8
        assert stored.max() <= 2 ** (bits - 1) - 1
        assert arrays[scale].shape == arrays[scale + 1].shape == scales
        assert not arrays[scale + 1].any()
        step = arrays[scale].reshape(2, 1, -1)
        restored = (stored * step).transpose(0, 2, 1)
        error = np.square(restored - expected).sum() / np.square(expected).sum()
        assert error < 1e-3
    floats = [v for v in made.graph.initializers.values() if v.dtype == ir.DataType.FLOAT]
    assert max(v.const_value.size for v in floats) == 2 * 8 * HIDDEN, "of weights the bias stays"
    assert sqnr(graph, made, feeds_of(2, 4))["y"] > (28 if bits == 7 else 15)


def test_weights_of_constant_nodes_are_stored_once_too():
    graph = lstm()
    for name in ("w", "r"):
        value = graph.graph.initializers.pop(name)
        made = ir.node("Constant", [], {"value": value.const_value}, name=f"{name}_node")
        made.outputs[0].name = f"{name}_made"
        value.replace_all_uses_with(made.outputs[0])
        graph.graph.insert_before(graph.graph[0], made)
    made = dynamic(graph)
    assert [node.op_type for node in made.graph] == ["DynamicQuantizeLSTM"]
    assert sqnr(graph, made, feeds_of(1, 2))["y"] > 28
    assert len(serialize(made)) < 0.5 * len(serialize(graph))


def test_a_bias_may_be_an_input():
    graph = lstm()
    value = graph.graph.initializers.pop("b")
    graph.graph.inputs.append(value)
    feeds = feeds_of(1, 2) | {"b": value.const_value.numpy()}
    value.const_value = None
    assert sqnr(graph, dynamic(graph), feeds)["y"] > 28


def test_costs_count_the_same_and_the_runtime_runs_it_as_integer():
    graph = lstm(', direction="bidirectional"', directions=2, more=",h0,c0")
    made = dynamic(graph)
    assert parameters(made) == parameters(graph)
    feeds = {name: a for name, a in feeds_of(2, 1).items() if name in ("x", "h0", "c0")}
    assert macs(made, feeds) == macs(graph, feeds)
    assert TARGET.integer_nodes(made) == ({"DynamicQuantizeLSTM": 1}, {})


def shared() -> ir.Model:
    return model(
        """g (float[s,n,16] x, float w, float r) => (float[s,1,n,16] y, float[s,1,n,16] z)
        {
            y = LSTM<hidden_size=16>(x, w, r)
            z = LSTM<hidden_size=16, direction="reverse">(x, w, r)
        }""",
        w=[1, 64, 16], r=[1, 64, 16],
    )  # fmt: skip


def fed() -> ir.Model:
    return model(
        """g (float[s,n,16] x, float[1,64,16] w, float r) => (float[s,1,n,16] y)
        { y = LSTM<hidden_size=16>(x, w, r) }""",
        r=[1, 64, 16],
    )


def half() -> ir.Model:
    graph = lstm()
    for value in (*graph.graph.inputs, *graph.graph.outputs):
        value.dtype = ir.DataType.FLOAT16
    for name, value in graph.graph.initializers.items():
        array = value.const_value.numpy().astype(np.float16)
        value.const_value = ir.tensor(array, name=name)
        value.dtype = ir.DataType.FLOAT16
    return graph


def infinite() -> ir.Model:
    graph = lstm()
    value = graph.graph.initializers["r"]
    array = value.const_value.numpy().copy()
    array[0, 3, 2] = np.inf
    value.const_value = ir.tensor(array, name="r")
    return graph


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (lstm(operator="GRU"), "GRU has no integer kernel"),
        (lstm(operator="RNN"), "RNN has no integer kernel"),
        (lstm(", layout=1"), "layout=0"),
        (shared(), "weight w is read elsewhere as well"),
        (fed(), "its weights are not constants"),
        (half(), "its weights are float16, not float32"),
        (infinite(), "its weight holds NaN or infinity"),
    ],
    ids=["GRU", "RNN", "layout", "shared", "fed", "half", "infinite"],
)
def test_what_the_operator_cannot_take_stays_float(graph: ir.Model, said: str):
    placed = place_dynamic(graph, POLICY)
    assert placed.integer == ()
    assert placed.float_reasons.keys() == {node.name for node in graph.graph}
    assert all(said in reason for reason in placed.float_reasons.values())
    decisions = choose_dynamic(graph, POLICY).record.decisions
    assert [(one.subject, one.verdict) for one in decisions] == [
        (node.name, "float") for node in graph.graph
    ]
    with pytest.raises(RecipeError, match="cannot run as dynamic INT8"):
        insert_dynamic(graph.clone(), [graph.graph[0].name], POLICY)


def test_a_target_without_the_operator_leaves_it_float():
    policy = replace(POLICY, dynamic=frozenset())
    assert place_recurrent(lstm(), policy) == ((), {"LSTM_0": "LSTM has no integer kernel"})


def mix(most: int) -> Mix:
    plan = GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7,
        integer=("MatMul_0", "MatMul_6"), dynamic=("LSTM_2",),
        ranges={"x": (-4.0, 4.0), "f": (-1.0, 1.0)},
    )  # fmt: skip
    return mixed(tagger(), plan, POLICY, most)


def test_its_region_is_float_or_dynamic_but_never_static():
    found = mix(most=32)
    assert [region.weighted for region in found.regions] == [
        ("MatMul_0",),
        ("LSTM_2",),
        ("MatMul_6",),
    ]
    assert found.possible.tolist() == [[True, True, True], [True, False, True], [True, True, True]]
    whole = found.chosen(found.whole)
    assert whole == (STATIC, DYNAMIC, STATIC)
    plan = found.plan((FLOAT, DYNAMIC, STATIC))
    assert (plan.integer, plan.dynamic) == (("MatMul_6",), ("LSTM_2",))
    assert found.plan((STATIC, FLOAT, FLOAT)).dynamic == ()


def test_its_times_are_told_as_float_and_as_dynamic():
    found = mix(most=32)
    assignments = designs(found)
    assert {chosen[1] for chosen in assignments} == {FLOAT, DYNAMIC}
    own = {FLOAT: 50e-6, STATIC: 30e-6, DYNAMIC: 40e-6}
    seen = {
        f"{graph}/{region}": own[choice]
        for graph, chosen in enumerate(assignments)
        for region, choice in enumerate(chosen)
    }
    times = fitted(found, assignments, seen).costs.time
    assert times[1].tolist() == pytest.approx([50e-6, np.inf, 40e-6])


def test_among_static_nodes_of_one_region_it_is_dynamic():
    found = mix(most=1)
    assert found.chosen(found.whole) == (STATIC,)
    plan = found.plan((STATIC,))
    assert (plan.integer, plan.dynamic) == (("MatMul_0", "MatMul_6"), ("LSTM_2",))
    assert found.plan((DYNAMIC,)).dynamic == ("MatMul_0", "LSTM_2", "MatMul_6")


def test_it_stands_between_static_nodes():
    graph, x = tagger(), RNG.standard_normal((4, 7, 64)).astype(np.float32)
    made = realize(graph, mix(most=32).whole, TARGET)
    assert sqnr(graph, made, {"x": x})["y"] > 25
    integer, _ = TARGET.integer_nodes(made)
    assert integer["DynamicQuantizeLSTM"] == 1
    assert integer["MatMulIntegerToFloat"] == 2


def test_its_own_error_is_measured_as_that_of_other_layers():
    graph, x = tagger(), RNG.standard_normal((8, 7, 64)).astype(np.float32)
    chosen = choose_dynamic(graph, POLICY).dynamic
    assert chosen == ("MatMul_0", "LSTM_2", "MatMul_6")
    found = layer_noise(graph, dynamic(graph), chosen, open_dataset({"x": x}), POLICY)
    noise = {one.point.node: one for one in found}
    assert noise["LSTM_2"].own is not None
    assert 28 < noise["LSTM_2"].sqnr < noise["LSTM_2"].own


def test_where_only_the_last_state_is_read_its_error_is_that_of_the_state():
    graph, x = alone("LSTM"), RNG.standard_normal((8, 7, 24)).astype(np.float32)
    node = next(node for node in graph.graph if node.op_type == "LSTM")
    node.outputs[0].name = ""
    (noise,) = [
        one
        for one in layer_noise(graph, dynamic(graph), ["LSTM_1"], open_dataset({"x": x}), POLICY)
        if one.point.node == "LSTM_1"
    ]
    assert noise.point.value == "h"
    assert noise.own is not None
    assert 28 < noise.own < 60


def test_it_needs_no_data_and_is_replayed_byte_for_byte(tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(tagger(), source)
    graph = compress(source, recipe=recipe(), output=tmp_path / "out").graphs["model"]
    assert graph.shipped == "int8"
    assert graph.candidates[0].integer_nodes == 3
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert "LSTM_2" in plan.dynamic
    compress(source, plan=tmp_path / "out" / "plan.json", output=tmp_path / "again")
    for name in ("model.onnx", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    placed = {one.operator: one for one in graph.placement}
    assert placed["DynamicQuantizeLSTM"].integer == 1


@pytest.mark.parametrize(("max_drop", "taken"), [("5%", True), ("0.0000001%", False)])
def test_static_int8_makes_it_dynamic_within_the_budget(max_drop: str, taken: bool, tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(tagger(), source)
    x = RNG.standard_normal((60, 7, 64)).astype(np.float32)
    graph = compress(
        source,
        calibration={"x": x[:20]},
        evaluation={"x": x},
        recipe=recipe("int8", max_drop=max_drop),
        output=tmp_path / "out",
    ).graphs["model"]
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert ("LSTM_2" in plan.dynamic) is taken
    assert plan.integer == (("MatMul_0", "MatMul_6") if taken else ())
    assert graph.candidates[0].integer_nodes >= 3
    if taken:
        layers = {layer.node: layer for layer in graph.layers}
        assert layers["LSTM_2"].integer
        compress(source, plan=tmp_path / "out" / "plan.json", output=tmp_path / "again")
        made = [tmp_path / folder / "model.onnx" for folder in ("out", "again")]
        assert made[0].read_bytes() == made[1].read_bytes()


def alone(operator: str) -> ir.Model:
    """Samples first, and nothing else with an integer kernel."""
    gates = {"LSTM": 4, "GRU": 3}[operator]
    return model(
        f"""g (float[n,7,24] x, float w, float r) => (float[n,16] y)
        <float[7,n,24] t, float[1,n,16] h>
        {{
            t = Transpose<perm=[1,0,2]>(x)
            states, h = {operator}<hidden_size=16>(t, w, r)
            axes = Constant<value_ints=[0]>()
            y = Squeeze(h, axes)
        }}""",
        w=[1, gates * 16, 24], r=[1, gates * 16, 16],
    )  # fmt: skip


def test_a_graph_of_nothing_else_becomes_integer_with_static_int8(tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(alone("LSTM"), source)
    x = RNG.standard_normal((20, 7, 24)).astype(np.float32)
    report = compress(source, calibration={"x": x}, recipe=recipe("int8"), output=tmp_path / "out")
    assert report.graphs["model"].shipped == "int8"
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert (plan.integer, plan.dynamic, plan.ranges) == ((), ("LSTM_1",), {})


@pytest.mark.parametrize("mode", ["int8", "int8-dynamic"])
def test_the_report_says_why_one_stays_float(mode: str, tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(alone("GRU"), source)
    x = RNG.standard_normal((20, 7, 24)).astype(np.float32)
    graph = compress(
        source, calibration={"x": x}, recipe=recipe(mode), output=tmp_path / "out"
    ).graphs["model"]
    assert graph.shipped == "float"
    assert graph.float_reasons["GRU_1"] == "GRU has no integer kernel"


@pytest.mark.slow
def test_one_that_torch_exported_for_both_directions():
    pytest.importorskip("torch", reason="the zoo is made of torch modules")
    from networks import ZOO

    network = next(one for one in ZOO if one.name == "lstm_tagger")
    graph, _ = fold(network.captured().model, network.feeds(2))
    made = dynamic(graph)
    integer, floating = TARGET.integer_nodes(made)
    assert integer["DynamicQuantizeLSTM"] == 2
    assert "LSTM" not in floating
    assert min(sqnr(graph, made, network.feeds(8)).values()) > 25
    assert len(serialize(made)) < 0.4 * len(serialize(graph))


def test_a_pruned_graph_reaches_a_size_with_it(tmp_path: Path):
    source = tmp_path / "net.onnx"
    graph = model(
        """g (float[n,7,64] x, float[64,256] w1, float[256,64] w2, float w, float r)
            => (float[n,7,64] y)
        <float[n,7,256] a, float[n,7,256] b, float[n,7,64] c, float[7,n,64] t, float[7,1,n,64] h,
         float[n,7,1,64] u>
        {
            a = MatMul(x, w1)
            b = Relu(a)
            c = MatMul(b, w2)
            t = Transpose<perm=[1,0,2]>(c)
            h = LSTM<hidden_size=64>(t, w, r)
            u = Transpose<perm=[2,0,1,3]>(h)
            axes = Constant<value_ints=[2]>()
            y = Squeeze(u, axes)
        }""",
        w1=[64, 256], w2=[256, 64], w=[1, 256, 64], r=[1, 256, 64],
    )  # fmt: skip
    save_model(graph, source)
    x = RNG.standard_normal((20, 7, 64)).astype(np.float32)
    asked = recipe("int8").model_copy(update={"prune": PruneOptions(size="60KB", round=8)})
    report = compress(source, calibration={"x": x}, recipe=asked, output=tmp_path / "out")
    goal = report.graphs["model"].goal
    assert goal is not None
    assert goal.met
    assert 50_000 < (tmp_path / "out" / "model.onnx").stat().st_size <= 60_000, "not too much went"
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert plan.dynamic == ("LSTM_4",)
