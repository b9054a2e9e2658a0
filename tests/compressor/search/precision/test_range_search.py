"""Other ranges for the tensors that lose most, as far as the outputs gain by them."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import model, residual
from seams import Clock, Verdicts, images, judged, searching, session_of

from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.candidate import Judged
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.precision.ptq_steps import as_calibrated, latency_placement
from compressor.search.precision.range_search import GAIN, other_ranges
from compressor.search.precision.ranges import calibrated_ranges, runtime_ranges

OUTLIER = 400.0


def spoilt() -> dict[str, np.ndarray]:
    """One number that rules the range of the input."""
    found = images(8, 0)
    found["x"][7, 0, 0, 0] = OUTLIER
    return found


def search(second: Judged) -> PtqSearch:
    """What was calibrated lost 0.9 on other samples; the next candidate is judged so."""
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=8, ranges="minmax", keep_slower=True),
        measure=MeasureOptions(seconds=0.05),
        budget=BudgetOptions(max_drop="50pt"),
    )
    session = session_of(
        residual(), recipe, Clock(),
        calibration=spoilt(), evaluation=images(8, 1),
    )  # fmt: skip
    evaluation = session.prepared.evaluation
    found = searching(
        session, Verdicts(evaluation, [judged(False, 0.9), second]),
        session.prepared.calibration, data=evaluation,
    )  # fmt: skip
    for step in (calibrated_ranges, latency_placement, as_calibrated):
        step(found)
    return found


def test_a_range_that_an_outlier_ruled_is_clipped():
    found = search(judged(False, 0.2))
    before = found.plan
    assert before.ranges["x"][1] == pytest.approx(OUTLIER)
    other_ranges(found)
    assert found.plan.ranges["x"][1] < 10
    assert found.named.startswith("INT8, ")
    assert found.named.endswith((" other range", " other ranges"))
    assert found.plan.model_copy(update={"ranges": before.ranges}) == before, "nothing else"
    told = found.findings[0]
    assert told.subject == "x"
    assert told.reason.startswith("another range: ")
    after, first = (float(word) for word in np.array(told.reason.split())[[2, 11]])
    assert after > first + GAIN


def test_what_the_search_samples_lose_more_by_is_not_built_on():
    found = search(judged(False, 0.95))
    before = found.plan
    other_ranges(found)
    assert found.plan is before
    assert found.named == "INT8"
    assert [one.name.startswith("INT8, ") for one in found.trials] == [False, True]


def test_without_statistics_there_is_nothing_to_choose_from():
    found = search(judged(True))
    assert found.calibration is not None
    found.calibration = replace(found.calibration, stats=None)
    other_ranges(found)
    assert len(found.trials) == 1


def test_not_where_every_product_could_find_its_own_at_run_time():
    tokens = model(
        """g (float[n,64] x, float[64,64] w, float[64,64] v) => (float[n,64] y)
        {
            h = MatMul(x, w)
            t = Tanh(h)
            y = MatMul(t, v)
        }""",
        w=[64, 64], v=[64, 64],
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((16, 64)).astype(np.float32)
    x[3, 3] = OUTLIER
    recipe = Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=8, ranges="minmax", keep_slower=True)
    )
    session = session_of(tokens, recipe, Clock(), calibration={"x": x})
    data = session.prepared.calibration
    found = searching(session, Verdicts(data, [judged(False, 0.9)]), data)
    for step in (calibrated_ranges, latency_placement, as_calibrated, other_ranges):
        step(found)
    assert len(found.trials) == 1
    dynamic = searching(session, Verdicts(data, []), data)
    runtime_ranges(dynamic)
    other_ranges(dynamic)
    assert dynamic.trials == [], "nothing was calibrated"
