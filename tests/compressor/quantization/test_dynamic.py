"""Dynamic INT8 in ONNX Runtime: integer kernels, close to float, quantized once for siblings."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual

from calibration.dataset import open_dataset
from compressor import Recipe, compress
from compressor.errors import RecipeError
from compressor.graph.cost import macs, parameters
from compressor.graph.files import save_model, serialize
from compressor.graph.session import open_session
from compressor.plan.plan import GraphPlan, Plan
from compressor.plan.realize import realize
from compressor.quantization.dynamic import choose_dynamic, insert_dynamic, place_dynamic
from compressor.quantization.noise import layer_noise
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from exporters.ort.target import TARGET

pytestmark = pytest.mark.usefixtures("quick")

POLICY = TARGET.policy("avx2")
X = np.random.default_rng(1).standard_normal((4, 6, 64)).astype(np.float32)


def attention() -> ir.Model:
    """Three projections of one value, a fourth of their mixture, and a product of activations."""
    return model(
        """g (float[n,6,64] x, float[64,64] wq, float[64,64] wk, float[64,64] wv, float[64,64] wo,
              float[64] bo) => (float[n,6,64] y)
        <float[n,6,64] q, float[n,6,64] k, float[n,6,64] v, float[n,64,6] t, float[n,6,6] s,
         float[n,6,6] p, float[n,6,64] a, float[n,6,64] o>
        {
            q = MatMul(x, wq)
            k = MatMul(x, wk)
            v = MatMul(x, wv)
            t = Transpose<perm=[0,2,1]>(k)
            s = MatMul(q, t)
            p = Softmax(s)
            a = MatMul(p, v)
            o = MatMul(a, wo)
            y = Add(o, bo)
        }""",
        wq=[64, 64], wk=[64, 64], wv=[64, 64], wo=[64, 64], bo=[64],
    )  # fmt: skip


def classifier() -> ir.Model:
    return model(
        """g (float[n,64] x, float[32,64] w1, float[32] b1, float[32,10] w2, float[1,10] b2)
            => (float[n,10] y)
        <float[n,32] h, float[n,32] r>
        {
            h = Gemm<transB=1>(x, w1, b1)
            r = Relu(h)
            y = Gemm(r, w2, b2)
        }""",
        w1=[32, 64], b1=[32], w2=[32, 10], b2=[1, 10],
    )  # fmt: skip


def dynamic(graph: ir.Model) -> ir.Model:
    made = graph.clone()
    insert_dynamic(made, place_dynamic(graph, POLICY).integer, POLICY)
    return made


def sqnr(graph: ir.Model, result: ir.Model, feeds: dict[str, np.ndarray]) -> float:
    with TARGET.open(graph) as a, TARGET.open(result) as b:
        expected, found = a.run(feeds)["y"], b.run(feeds)["y"]
    return 10 * float(np.log10(np.sum(expected**2) / np.sum((expected - found) ** 2)))


def test_projections_of_one_value_share_its_integers():
    graph = attention()
    before = serialize(graph)
    made = dynamic(graph)
    operators = [node.op_type for node in made.graph]
    assert operators.count("DynamicQuantizeLinear") == 2
    assert operators.count("MatMulInteger") == 4
    assert operators.count("MatMul") == 2, "products of activations stay float"
    assert not {"wq", "wk", "wv", "wo"} & set(made.graph.initializers)
    assert serialize(graph) == before


def test_the_runtime_fuses_them_into_its_integer_kernels():
    integer, floating = TARGET.integer_nodes(dynamic(attention()))
    assert integer == {"MatMulIntegerToFloat": 3, "DynamicQuantizeMatMul": 1}
    assert not {"Cast", "MatMulInteger"} & (integer | floating).keys()


@pytest.mark.parametrize(
    ("graph", "x"), [(attention(), X), (classifier(), X.reshape(-1, 64))], ids=["matmul", "gemm"]
)
def test_outputs_stay_close_and_costs_count_the_same(graph: ir.Model, x: np.ndarray):
    made = dynamic(graph)
    assert sqnr(graph, made, {"x": x}) > 30
    assert parameters(made) == parameters(graph)
    assert macs(made, {"x": x[:1]}) == macs(graph, {"x": x[:1]})


def test_only_products_with_a_constant_weight_can_be_dynamic():
    placed = place_dynamic(attention(), POLICY)
    assert placed.integer == ("MatMul_0", "MatMul_1", "MatMul_2", "MatMul_7")
    assert set(placed.float_reasons) == {"MatMul_4", "MatMul_6"}
    placed = place_dynamic(residual(), POLICY)
    assert placed.integer == ("Gemm_7",)
    assert "pays" in placed.float_reasons["Conv_0"]


@pytest.mark.parametrize("name", ["MatMul_4", "Softmax_5", "nowhere"])
def test_a_plan_of_another_graph_is_refused(name: str):
    with pytest.raises(RecipeError, match=f"'{name}' cannot run as dynamic INT8"):
        insert_dynamic(attention(), [name], POLICY)


def test_realize_mixes_both_kinds_and_float():
    graph = attention()
    plan = GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7,
        integer=("MatMul_7",), dynamic=("MatMul_0", "MatMul_1"), ranges={"a": (-8.0, 8.0)},
    )  # fmt: skip
    made = realize(graph, plan, TARGET)
    assert serialize(made) == serialize(realize(graph, plan, TARGET))
    integer, floating = TARGET.integer_nodes(made)
    assert integer == {"MatMulIntegerToFloat": 3}
    assert floating["MatMul"] + floating.get("FusedMatMul", 0) == 3
    weights = [
        v.const_value.numpy() for v in made.graph.initializers.values() if v.shape == (64, 64)
    ]
    assert sorted(str(w.dtype) for w in weights) == ["float32", "int8", "int8", "int8"]
    assert max(abs(w.astype(int)).max() for w in weights if w.dtype == np.int8) <= 63, "7 bits"
    assert sqnr(graph, made, {"x": X}) > 25


def test_layers_are_compared_as_static_ones_are():
    graph = attention()
    chosen = choose_dynamic(graph, POLICY).dynamic
    data = open_dataset({"x": X})
    noise = {n.point.node: n for n in layer_noise(graph, dynamic(graph), chosen, data, POLICY)}
    assert {name for name, n in noise.items() if n.own is not None} == set(chosen)
    assert noise["MatMul_0"].own == pytest.approx(noise["MatMul_0"].sqnr)
    assert 30 < noise["MatMul_7"].sqnr < noise["MatMul_7"].own


def recipe(mode: str = "int8-dynamic", **budget: str) -> Recipe:
    return Recipe(
        quantize=QuantizeOptions(mode=mode, keep_slower=True, cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05, metric="cosine" if budget else None),
        budget=BudgetOptions(**budget),
    )


def test_it_needs_no_data_and_is_replayed_byte_for_byte(tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(attention(), source)
    graph = compress(source, recipe=recipe(), output=tmp_path / "out").graphs["model"]
    assert graph.shipped == "int8"
    assert graph.candidates[0].integer_nodes == 4
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert len(plan.dynamic) == 4
    assert (plan.integer, plan.ranges, plan.weight_bits, plan.pairs) == ((), {}, 8, True)
    compress(source, plan=tmp_path / "out" / "plan.json", output=tmp_path / "again")
    for name in ("model.onnx", "plan.json"):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


@pytest.mark.parametrize(("max_drop", "integer"), [("5%", 4), ("0.00001%", 0)])
def test_a_budget_holds_it(max_drop: str, integer: int, tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(attention(), source)
    rng = np.random.default_rng(3)
    data = {"x": rng.standard_normal((60, 6, 64)).astype(np.float32)}
    report = compress(
        source, evaluation=data, recipe=recipe(max_drop=max_drop), output=tmp_path / "out"
    )
    graph = report.graphs["model"]
    assert graph.budget is not None
    assert graph.budget.met
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert len(plan.dynamic) == integer
    assert graph.candidates[0].integer_nodes == 4
    if integer:
        assert {layer.node for layer in graph.layers if layer.integer} == set(plan.dynamic)


def test_where_there_is_data_channels_are_smoothed_first(tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(loud(), source)
    x = np.random.default_rng(3).standard_normal((32, 6, 64)).astype(np.float32)
    compress(source, calibration={"x": x}, recipe=recipe(), output=tmp_path / "out")
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert "m" in plan.smooth
    assert (len(plan.dynamic), plan.integer) == (2, ())
    with TARGET.open(loud()) as a, TARGET.open(tmp_path / "out" / "model.onnx") as b:
        expected, found = a.run({"x": x})["y"], b.run({"x": x})["y"]
    with TARGET.open(dynamic(loud())) as c:
        plain = c.run({"x": x})["y"]
    assert np.square(found - expected).sum() < 0.5 * np.square(plain - expected).sum()


def loud() -> ir.Model:
    """A norm with a channel a hundred times louder than the others, and two products."""
    graph = model(
        """g (float[n,6,64] x, float[64] gain, float[64] shift, float[64,64] w1, float[64,64] w2)
            => (float[n,6,64] y)
        <float[n,6,64] m, float[n,6,64] h, float[n,6,64] t>
        {
            m = LayerNormalization(x, gain, shift)
            h = MatMul(m, w1)
            t = Tanh(h)
            y = MatMul(t, w2)
        }""",
        gain=[64], shift=[64], w1=[64, 64], w2=[64, 64],
    )  # fmt: skip
    gain = graph.graph.initializers["gain"]
    values = np.ones(64, np.float32)
    values[5] = 100.0
    gain.const_value = ir.tensor(values, name="gain")
    return graph


def test_a_search_finds_ranges_at_run_time_where_fixed_ones_clip(tmp_path: Path):
    source = tmp_path / "net.onnx"
    save_model(attention(), source)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((60, 6, 64)).astype(np.float32)
    graph = compress(
        source,
        calibration={"x": x[:20] / 20},
        evaluation={"x": x},
        recipe=recipe("int8", max_drop="2%", accept="point"),
        output=tmp_path / "out",
    ).graphs["model"]
    first, second = graph.candidates[:2]
    assert (first.accepted, second.accepted) == (False, True)
    assert second.name == "INT8, ranges found at run time"
    assert graph.budget is not None
    assert graph.budget.met
    plan = Plan.load(tmp_path / "out" / "plan.json").graphs["model"]
    assert (len(plan.dynamic), plan.integer) == (4, ())


@pytest.mark.parametrize("opset", [17, 20])
def test_a_scale_for_each_row_keeps_small_tokens_beside_large_ones(opset):
    graph = attention()
    graph.opset_imports[""] = opset
    feeds = {"x": X.copy()}
    feeds["x"][:, 0] *= 200
    exact = open_session(graph).run(None, feeds)[0][:, 1:]
    products = [node.name or "" for node in graph.graph if node.op_type == "MatMul"][:3]
    errors = []
    for rows in ((), products):
        made = graph.clone()
        insert_dynamic(made, products, POLICY, rows=rows)
        found = open_session(made).run(None, feeds)[0][:, 1:]
        errors.append(float(np.square(found - exact).sum() / np.square(exact).sum()))
    assert errors[1] < errors[0] / 30
    divisions = [node for node in made.graph if node.op_type == "Div"]
    assert len(divisions) == 1, "what several products read is divided once"


def test_a_row_of_zeros_stays_zero_with_a_scale_of_its_own():
    graph = classifier()
    made = graph.clone()
    products = [node.name or "" for node in graph.graph if node.op_type == "Gemm"]
    insert_dynamic(made, products, POLICY, rows=products)
    feeds = {"x": np.zeros((2, 64), np.float32)}
    exact, found = (open_session(one).run(None, feeds)[0] for one in (graph, made))
    np.testing.assert_allclose(found, exact, atol=0.02)
