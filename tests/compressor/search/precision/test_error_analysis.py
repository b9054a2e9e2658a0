"""Where the quantized graph loses: layers and tensors, the worst first, or why nothing is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphs import residual
from seams import Clock, Told, always, images, session_of

from compressor.quantization.static import StaticChoice
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import NoBudget
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.measure import Pair
from compressor.search.precision.error_analysis import TENSORS, explain
from compressor.search.precision.search import with_precision
from exporters.base import Artifact

DATA = images(16, 3)


def run(**quantize: Any) -> tuple[Outcome, Pair]:
    """What is decided of a residual network, and how to run it."""
    options = {"cpu": "avx2", "batch": 8, "keep_slower": True} | quantize
    recipe = Recipe(quantize=QuantizeOptions(**options), measure=MeasureOptions(seconds=0.05))
    told = Told()
    made = session_of(residual(), recipe, Clock(always(1.5)), calibration=DATA, progress=told)
    found = with_precision(
        made, undecided(made), made.prepared.calibration, NoBudget(made, None, "")
    )
    told.stages.clear()
    built = Artifact(Path())
    return found, Pair(built, built, built, made.target, made.prepared, recipe, told)


@pytest.fixture(scope="module")
def done() -> tuple[Outcome, Pair]:
    return run()


def test_every_layer_is_measured_and_the_worst_comes_first(done: tuple[Outcome, Pair]):
    found, pair = done
    told = explain(found, pair, pair.prepared.calibration)
    assert told.reason is None
    names = {"Conv_0", "Conv_2", "Add_3", "GlobalAveragePool_5", "Gemm_7"}
    assert {layer.node for layer in told.layers} == names
    ranked = [layer.sqnr_db for layer in told.layers]
    assert ranked == sorted(ranked)
    assert 10 < ranked[0] < ranked[-1] < 60
    assert all(layer.integer and layer.own_sqnr_db is not None for layer in told.layers)
    assert all(layer.reason is None for layer in told.layers)
    assert pair.progress.stages == ["measure layers"]


def test_tensors_that_cost_most_come_with_their_range_and_histogram(done: tuple[Outcome, Pair]):
    found, pair = done
    assert found.quantized is not None
    told = explain(found, pair, pair.prepared.calibration)
    assert 1 <= len(told.tensors) <= TENSORS
    scores = [tensor.sqnr_db for tensor in told.tensors]
    assert scores == sorted(scores)
    for tensor in told.tensors:
        low, high = found.quantized.plan.ranges[tensor.value]
        assert tensor.high == pytest.approx(high, rel=0.02)
        assert tensor.low <= max(low, 0) + 1e-6
        assert len(tensor.edges) == len(tensor.counts) + 1
    image = next(tensor for tensor in told.tensors if tensor.value == "x")
    assert sum(image.counts) == DATA["x"].size
    assert (image.observed_low, image.observed_high) == pytest.approx(
        (DATA["x"].min(), DATA["x"].max())
    )
    assert image.clipped < 0.01


def test_extremes_alone_get_histograms_of_the_sample_and_scores_of_now():
    found, pair = run(ranges="minmax")
    told = explain(found, pair, pair.prepared.calibration)
    image = next(tensor for tensor in told.tensors if tensor.value == "x")
    assert (image.method, image.clipped) == ("minmax", 0)
    assert sum(image.counts) == DATA["x"].size
    assert 20 < image.sqnr_db < 60


def test_what_was_reverted_is_told_all_the_same(done: tuple[Outcome, Pair]):
    found, pair = done
    plan = found.plan.model_copy(update={"ship": "float", "integer": (), "ranges": {}})
    reverted = found.then(plan=plan, shipped=found.plain)
    told = explain(reverted, pair, pair.prepared.calibration)
    assert len(told.layers) == 5
    assert told.tensors


def test_layers_that_stay_float_say_why(done: tuple[Outcome, Pair]):
    found, pair = done
    quantized = found.quantized
    assert quantized is not None
    integer = tuple(name for name in quantized.plan.integer if name != "Gemm_7")
    plan = quantized.plan.model_copy(update={"integer": integer, "dynamic": ()})
    partly = replace(quantized, plan=plan, float_reasons={"Gemm_7": "it was slower"})
    told = explain(replace(found, quantized=partly), pair, pair.prepared.calibration)
    layer = next(layer for layer in told.layers if layer.node == "Gemm_7")
    assert (layer.integer, layer.reason) == (False, "it was slower")
    assert layer.own_sqnr_db is None, "what it lost was lost in front of it"
    unnamed = replace(partly, float_reasons={})
    told = explain(replace(found, quantized=unnamed), pair, pair.prepared.calibration)
    layer = next(layer for layer in told.layers if layer.node == "Gemm_7")
    assert layer.reason == "its neighbours are float"


def test_without_a_choice_of_calibration_layers_alone_are_told(done: tuple[Outcome, Pair]):
    found, pair = done
    quantized = found.quantized
    assert quantized is not None
    assert isinstance(quantized.calibration, StaticChoice)
    blind = replace(quantized, calibration=None)
    told = explain(replace(found, quantized=blind), pair, pair.prepared.calibration)
    assert told.layers
    assert told.tensors == ()


def test_weights_in_fewer_bits_are_looked_at_layer_by_layer():
    found, pair = run(mode="fp16")
    told = explain(found, pair, pair.prepared.calibration)
    assert found.plan.stored is not None
    assert told.layers
    assert min(layer.sqnr_db for layer in told.layers) > 40
    assert told.tensors == ()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("nothing", "nothing was quantized"),
        ("replayed", "the plan was replayed, which measures no layers: run without --plan"),
        ("no samples", "there are no samples to run: pass --calib beside --stats"),
    ],
)
def test_why_nothing_is_told(done: tuple[Outcome, Pair], change: str, reason: str):
    found, pair = done
    data = None if change == "no samples" else pair.prepared.calibration
    if change != "no samples":
        found = replace(found, quantized=None)
    if change == "nothing":
        found = found.then(plan=found.plan.model_copy(update={"integer": (), "dynamic": ()}))
    told = explain(found, pair, data)
    assert (told.layers, told.tensors, told.reason) == ((), (), reason)
