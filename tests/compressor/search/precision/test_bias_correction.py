"""Biases of a plan that give each channel of an integer layer the mean that it has in float."""

import numpy as np
import pytest
from graphs import residual
from seams import Clock, Told, images, session_of

from calibration.dataset import CalibrationSet
from compressor.graph.files import serialize
from compressor.graph.session import open_session
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.quantization.bias import restored
from compressor.quantization.placement import place, quantized_values
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.precision.bias_correction import corrected, corrections
from compressor.search.session import Session
from exporters.ort.target import TARGET

SPANS = {"x": (-1.0, 1.0), "r1": (0.0, 2.0), "r2": (0.0, 8.0)}
"""Some clip much, which shifts means."""
DATA = images(24, 0)


@pytest.fixture(scope="module")
def session() -> Session:
    recipe = Recipe(quantize=QuantizeOptions(batch=8, cpu="avx2"))
    return session_of(residual(), recipe, Clock(), calibration=DATA)


@pytest.fixture(scope="module")
def data(session: Session) -> CalibrationSet:
    found = session.prepared.calibration
    assert found is not None
    return found


@pytest.fixture(scope="module")
def plan() -> GraphPlan:
    graph, policy = residual(), TARGET.policy("avx2")
    integer = place(graph, policy).integer
    names = [value.name or "" for value in quantized_values(graph, integer, policy)]
    return GraphPlan(
        graph="", baseline="captured", ship="int8", cpu="avx2", weight_bits=7, integer=integer,
        ranges=dict.fromkeys(names, (-20.0, 20.0)) | SPANS,
    )  # fmt: skip


def test_means_of_outputs_come_close_to_those_of_float(
    session: Session, data: CalibrationSet, plan: GraphPlan
):
    graph = session.prepared.model
    before = serialize(graph)
    better = corrected(session, graph, plan, data)
    assert restored(better.bias).keys() == {"Conv_0", "Conv_2", "Gemm_7"}
    assert better.model_copy(update={"bias": {}}) == plan, "nothing else is changed"
    assert serialize(graph) == before
    exact, plain, shifted = (
        open_session(one).run(None, DATA)[0].mean(axis=0)
        for one in (graph, realize(graph, plan, TARGET), realize(graph, better, TARGET))
    )
    assert np.abs(plain - exact).max() > 0.05
    assert np.abs(shifted - exact).max() < 0.1 * np.abs(plain - exact).max()


def test_each_layer_is_counted_as_it_is_corrected(
    session: Session, data: CalibrationSet, plan: GraphPlan
):
    told = Told()
    session = Session(session.prepared, session.recipe, TARGET, told, Clock())
    found = corrections(session, session.prepared.model, plan, data)
    assert told.stages == ["correct biases"]
    assert {name: array.shape for name, array in found.items()} == {
        "Conv_0": (32,),
        "Conv_2": (32,),
        "Gemm_7": (10,),
    }


def test_without_time_or_integers_the_plan_is_the_very_same(
    session: Session, data: CalibrationSet, plan: GraphPlan
):
    graph = session.prepared.model
    assert corrected(session, graph, plan, data, lambda: True) is plan
    assert corrections(session, graph, plan, data, lambda: True) == {}
    whole = plan.model_copy(update={"integer": ()})
    assert corrected(session, graph, whole, data) is whole
