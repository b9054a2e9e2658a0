"""What candidates lose without a budget: on few samples, which are said, and by no decision."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import residual

from calibration.dataset import open_dataset
from compressor.checkpoint.prepare import Prepared
from compressor.graph.shapes import input_specs
from compressor.recipe.recipe import MeasureOptions, Recipe
from compressor.search.gauging import SAMPLES, gauge
from compressor.search.measure import yardstick
from exporters.base import find_target

RECIPE = Recipe(measure=MeasureOptions(metric="cosine"))
WORDS = "evaluation data"


def samples(count: int):
    x = np.random.default_rng(0).standard_normal((count, 32, 8, 8)).astype(np.float32)
    return open_dataset({"x": x}).bind(input_specs(residual()))


def test_many_samples_are_drawn_from_by_seed_and_counted():
    found = gauge(RECIPE, samples(600), WORDS)
    assert found is not None
    assert len(found.data) == SAMPLES
    assert found.words == f"{WORDS}, {SAMPLES} of 600"
    again = gauge(RECIPE, samples(600), WORDS)
    assert again is not None
    assert again.data.fingerprint() == found.data.fingerprint()
    other = gauge(RECIPE.model_copy(update={"seed": 1}), samples(600), WORDS)
    assert other is not None
    assert other.data.fingerprint() != found.data.fingerprint()


def test_few_are_all_taken_and_none_gauge_nothing():
    found = gauge(RECIPE, samples(20), WORDS)
    assert found is not None
    assert (len(found.data), found.words) == (20, WORDS)
    assert gauge(RECIPE, None, WORDS) is None


def test_a_candidate_is_scored_against_the_original():
    worse = residual()
    weight = worse.graph.initializers["w1"]
    array = weight.const_value.numpy().copy()
    array[:16] = 0
    weight.const_value = type(weight.const_value)(array, name="w1")
    prepared = Prepared(
        name="net", path=None, model=residual(), is_onnx=True, parity=(), records=(),
        calibration=None, evaluation=None,
    )  # fmt: skip
    found = gauge(RECIPE, samples(20), WORDS)
    assert found is not None
    assert found.measured(prepared, find_target("ort"), worse) is None
    looked = yardstick(prepared, RECIPE, find_target("ort"), samples(20))
    prepared = replace(prepared, yardstick=looked)
    quality = found.measured(prepared, find_target("ort"), worse)
    assert (quality.metric, quality.samples, quality.data) == ("cosine", 20, WORDS)
    assert 0 < quality.result < 0.99
    same = found.measured(prepared, find_target("ort"), residual())
    assert same.result == pytest.approx(1.0, abs=1e-6)
