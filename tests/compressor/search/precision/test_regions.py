"""Regions, what each can be, and the plans that choices make."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import residual, tagger
from hypothesis import given
from hypothesis import strategies as st

from compressor.plan.plan import GraphPlan
from compressor.quantization.placement import place
from compressor.quantization.regions import divided
from compressor.search.precision.regions import CHOICES, DYNAMIC, FLOAT, STATIC, Mix, mixed
from exporters.ort.target import TARGET
from exporters.trt.options import TrtOptions
from exporters.trt.target import TrtTarget

POLICY = TARGET.policy("avx2")
RANGES = {"x": (-4.0, 4.0), "r1": (0.0, 6.0), "c2": (-6.0, 6.0), "r2": (0.0, 9.0)}
RANGES |= {"p": (0.0, 4.0), "f": (0.0, 4.0), "y": (-8.0, 8.0)}


def whole_plan(graph: ir.Model, **known: object) -> GraphPlan:
    integer = place(graph, POLICY).integer
    return GraphPlan(
        graph="", baseline="folded", ship="int8", cpu="avx2", weight_bits=7, integer=integer,
        **known,
    )  # fmt: skip


@pytest.fixture(scope="module")
def mix() -> Mix:
    graph = residual()
    return mixed(graph, whole_plan(graph, ranges=RANGES), POLICY)


def test_a_region_is_a_weighted_node_and_what_follows_it(mix: Mix):
    first, second, last = mix.regions
    assert first.weighted == ("Conv_0",)
    assert first.nodes == ("Conv_0", "Relu_1")
    assert second.nodes == ("Conv_2", "Add_3", "Relu_4", "GlobalAveragePool_5", "Flatten_6")
    assert (second.reads, last.reads) == ({"r1": 0}, {"f": 1})
    assert mix.edges == ((0, 1), (1, 2))
    assert mix.possible.tolist() == [[True, True, False], [True, True, False], [True] * 3]


def test_many_nodes_share_regions(mix: Mix):
    seeds = [name for region in mix.regions for name in region.weighted]
    found = divided(mix.model, seeds, mix.whole.integer, most=2)
    assert [region.weighted for region in found] == [("Conv_0", "Conv_2"), ("Gemm_7",)]
    assert found[0].name == "Conv_0 and 1 more"
    assert found[1].reads == {"f": 0}
    assert mixed(mix.model, mix.whole, mix.policy, most=2).regions == found


def test_choices_make_plans(mix: Mix):
    plan = mix.plan((STATIC, FLOAT, DYNAMIC))
    assert plan.integer == ("Conv_0", "Relu_1")
    assert plan.dynamic == ("Gemm_7",)
    assert mix.floats((STATIC, FLOAT, DYNAMIC)) == ("Conv_2",)
    assert mix.plan((STATIC,) * 3).integer == mix.whole.integer
    nothing = mix.plan((FLOAT,) * 3)
    assert nothing.quantized == ()
    assert nothing.ranges == mix.whole.ranges, "they serve every part of it"


@given(st.tuples(*[st.sampled_from(range(len(CHOICES)))] * 3))
def test_plans_tell_the_choices_that_made_them(mix: Mix, chosen: tuple[int, ...]):
    possible = all(mix.possible[region, choice] for region, choice in enumerate(chosen))
    plan = mix.plan(chosen)
    assert set(plan.integer).isdisjoint(plan.dynamic)
    if possible:
        assert mix.chosen(plan) == chosen
        assert set(mix.floats(chosen)).isdisjoint(plan.quantized)


def test_biases_and_rounded_weights_go_with_their_nodes_and_nowhere_else(mix: Mix):
    names = ("Conv_0", "Conv_2", "Gemm_7")
    base = mix.whole.model_copy(
        update={
            "bias": {name: name.encode() for name in names},
            "rounded": {name: np.zeros(1, np.int8) for name in names},
            "ranges": mix.whole.ranges | {"x": (-1.0, 1.0)},
        }
    )
    plan = mix.plan((STATIC, FLOAT, DYNAMIC), base)
    assert plan.bias == {"Conv_0": b"Conv_0"}, "a dynamic product has none"
    assert plan.rounded.keys() == {"Conv_0", "Gemm_7"}
    assert plan.ranges["x"] == (-1.0, 1.0)
    assert mix.whole.bias == {}


def test_what_has_no_static_form_is_dynamic_or_float():
    graph = tagger()
    plan = whole_plan(graph, dynamic=("LSTM_2",), ranges={"x": (-4.0, 4.0), "f": (-1.0, 1.0)})
    mix = mixed(graph, plan, POLICY)
    assert mix.possible[1].tolist() == [True, False, True]
    assert mix.chosen(plan) == (STATIC, DYNAMIC, STATIC)
    assert mix.plan((STATIC, FLOAT, STATIC)).dynamic == ()
    assert mix.plan((FLOAT, DYNAMIC, FLOAT)).quantized == ("LSTM_2",)


def test_a_product_in_a_body_is_in_no_region_and_stays_as_it_was(mix: Mix):
    whole = mix.whole.model_copy(update={"dynamic": ("inner",)})
    again = mixed(mix.model, whole, mix.policy)
    assert again.regions == mix.regions
    for chosen in ((FLOAT,) * 3, (STATIC,) * 3):
        assert again.plan(chosen).dynamic == ("inner",)


def test_what_is_not_float_may_be_floats_of_8_bits(mix: Mix):
    assert mix.names == CHOICES
    target = TrtTarget(TrtOptions(precision="fp8"))
    assert mixed(mix.model, mix.whole, target.policy("host")).names == ("float", "FP8", "FP8")


def test_a_graph_without_integers_has_no_regions():
    graph = residual()
    plan = GraphPlan(graph="", baseline="folded", ship="int8", cpu="avx2")
    found = mixed(graph, plan, POLICY)
    seen = {name for region in found.regions for name in region.weighted}
    assert seen == {"Gemm_7"}, "a product can still find its ranges at run time"
    assert not found.possible[:, STATIC].any()
    assert found.chosen(plan) == (FLOAT,)


def test_what_is_left_in_float_has_no_dynamic_form_either():
    graph = residual()
    plan = GraphPlan(graph="", baseline="folded", ship="int8", cpu="avx2")
    assert not mixed(graph, plan, POLICY, leave=("Gemm_7",)).regions
