"""Without a budget all is accepted, and measured on few samples, which are said."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import residual
from seams import Clock, looking, session_of

from calibration.dataset import open_dataset
from compressor.graph.shapes import input_specs
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import SAMPLES, NoBudget
from compressor.search.session import Session

RECIPE = Recipe(measure=MeasureOptions(metric="cosine"))
WORDS = "evaluation data"


def samples(count: int):
    x = np.random.default_rng(0).standard_normal((count, 32, 8, 8)).astype(np.float32)
    return open_dataset({"x": x}).bind(input_specs(residual()))


@pytest.fixture(scope="module")
def session() -> Session:
    return session_of(residual(), RECIPE, Clock())


def test_many_samples_are_drawn_from_by_seed_and_counted(session: Session):
    found = NoBudget(session, samples(600), WORDS)
    assert found.samples is not None
    assert len(found.samples) == SAMPLES
    assert found.words == f"{WORDS}, {SAMPLES} of 600"
    again = NoBudget(session, samples(600), WORDS).samples
    assert again is not None
    assert again.fingerprint() == found.samples.fingerprint()
    other = replace(session, recipe=RECIPE.model_copy(update={"seed": 1}))
    drawn = NoBudget(other, samples(600), WORDS).samples
    assert drawn is not None
    assert drawn.fingerprint() != found.samples.fingerprint()


def test_few_are_all_taken_and_none_measure_nothing(session: Session):
    found = NoBudget(session, samples(20), WORDS)
    assert found.samples is not None
    assert (len(found.samples), found.words) == (20, WORDS)
    nothing = NoBudget(session, None, WORDS)
    assert nothing.samples is None
    judged = nothing.accepts(residual())
    assert judged.accepted
    assert judged.quality is None
    assert nothing.confirms(residual()).accepted


def test_a_candidate_is_scored_against_the_original(session: Session):
    worse = residual()
    weight = worse.graph.initializers["w1"]
    array = weight.const_value.numpy().copy()
    array[:16] = 0
    weight.const_value = type(weight.const_value)(array, name="w1")
    found = NoBudget(session, samples(20), WORDS)
    assert found.accepts(worse).quality is None, "nobody looked at the outputs"
    session = looking(session, samples(20))
    judged = NoBudget(session, samples(20), WORDS).accepts(worse)
    assert judged.accepted
    quality = judged.quality
    assert (quality.metric, quality.samples, quality.data) == ("cosine", 20, WORDS)
    assert 0 < quality.result < 0.99
    same = NoBudget(session, samples(20), WORDS).accepts(residual()).quality
    assert same.result == pytest.approx(1.0, abs=1e-6)
