"""Every operator that has work and stays float is named, by its share."""

import numpy as np
from graphs import model

from compressor.plan.plan import GraphPlan
from compressor.recipe.policy import as_asked
from compressor.recipe.quantizing import QuantizeOptions
from compressor.report.floats import float_words
from compressor.results.graph_report import GraphReport
from compressor.search.precision.unquantized import unquantized, why_float
from exporters.ort.target import TARGET

FEEDS = {"x": np.zeros((1, 4, 8, 8), np.float32)}


def graph_with(body: str, **weights: list[int]):
    inputs = "".join(f", float{shape} {name}" for name, shape in weights.items())
    return model(f"g (float[n,4,8,8] x{inputs}) => (float[n,a,b,c] y) {{ {body} }}", **weights)


def test_what_holds_the_work_is_named_first():
    made = graph_with(
        "c = Conv<pads = [1,1,1,1]>(x, w) y = ConvTranspose<strides = [2, 2]>(c, t)",
        w=[4, 4, 3, 3], t=[4, 64, 3, 3],
    )  # fmt: skip
    plan = GraphPlan(graph="", baseline="folded", ship="int8", integer=("Conv_0",))
    found = unquantized(made, plan, TARGET.policy("avx2"), {}, FEEDS)
    assert found.reasons == {"ConvTranspose_1": "ConvTranspose has no integer kernel"}
    assert found.work["ConvTranspose_1"] > 0.9
    graph = GraphReport.model_construct(float_reasons=found.reasons, float_work=found.work)
    assert "stay float" in float_words(graph)
    assert "ConvTranspose_1: ConvTranspose has no integer kernel" in float_words(graph)


def test_bodies_are_named_and_what_decisions_said_stays():
    made = graph_with(
        """c = Conv<pads = [1,1,1,1]>(x, w)
           b = Constant<value_int = 1>()
           f = Cast<to = 9>(b)
           y = If<then_branch = t () => (float[n,4,8,8] p) { p = Conv<pads = [1,1,1,1]>(c, w) },
                  else_branch = e () => (float[n,4,8,8] q) { q = Relu(c) }>(f)""",
        w=[4, 4, 3, 3],
    )  # fmt: skip
    made.graph[3].attributes["then_branch"].as_graph()[0].name = "inner"
    plan = GraphPlan(graph="", baseline="folded", ship="int8")
    known = {"Conv_0": "it was slower"}
    found = unquantized(made, plan, TARGET.policy("avx2"), known, FEEDS)
    assert found.reasons["Conv_0"] == "it was slower"
    assert "body of If" in found.reasons["inner"]


def test_what_is_integer_only_with_ranges_of_run_time_is_told_so_where_those_are_forbidden():
    policy = TARGET.policy("avx2")
    static = as_asked(policy, QuantizeOptions(mode="int8-static"))
    assert "int8-static forbids" in why_float("LSTM", static)
    assert why_float("GRU", static) == "GRU has no integer kernel"
    assert why_float("MatMul", static) == "its neighbours are float"
    assert as_asked(policy, QuantizeOptions()) is policy


def test_little_work_is_not_worth_a_line():
    graph = GraphReport.model_construct(float_reasons={"a": "why"}, float_work={"a": 0.01})
    assert float_words(graph) == ""
