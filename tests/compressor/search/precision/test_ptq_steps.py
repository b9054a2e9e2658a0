"""The order of post-training quantization, and what each step does to the search."""

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, residual
from seams import Clock, Timed, Verdicts, always, images, judged, searching, session_of

from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import NoBudget
from compressor.search.precision.ptq_search import Kind, PtqSearch
from compressor.search.precision.ptq_steps import (
    DYNAMIC_STEPS,
    PTQ_STEPS,
    adaptive_rounding,
    as_calibrated,
    bias_correction,
    dynamic_ranges,
    latency_placement,
    norm_fusions,
    without_refused_layers,
)
from compressor.search.precision.ranges import calibrated_ranges, runtime_ranges

DATA = images(24, 0)


def search(
    made: ir.Model | None = None,
    data: dict[str, np.ndarray] = DATA,
    verdicts: tuple[Any, ...] = (),
    *,
    budget: bool = True,
    clock: Clock | None = None,
    **quantize: Any,
) -> PtqSearch:
    how = {"cpu": "avx2", "batch": 8, "ranges": "percentile:90", "keep_slower": True} | quantize
    recipe = Recipe(
        quantize=QuantizeOptions(**how),
        measure=MeasureOptions(seconds=0.25),
        budget=BudgetOptions(max_drop="50pt"),
    )
    session = session_of(made or residual(), recipe, clock or Clock(), calibration=data)
    calibration = session.prepared.calibration
    acceptance = Verdicts(calibration, verdicts) if budget else NoBudget(session, None, "")
    return searching(session, acceptance, calibration)


# The order


def test_the_order_is_preparations_then_the_cheapest_first():
    kinds = [step.kind for step in PTQ_STEPS]
    prepares = kinds.count(Kind.PREPARES)
    assert kinds[:prepares] == [Kind.PREPARES] * prepares
    assert kinds[prepares] is Kind.FREE, "what is calibrated is tried first"
    names = [step.name for step in PTQ_STEPS]
    assert len(set(names)) == len(names)
    assert names[-1] == "mixed precision", "it takes the most time"
    for before, after in (
        ("cross-layer equalization", "calibrated ranges"),
        ("SmoothQuant", "calibrated ranges"),
        ("layers that the runtime refuses", "placement by latency"),
        ("fusions of norms", "placement by latency"),
        ("adaptive rounding (GPTQ)", "bias correction"),
    ):
        assert names.index(before) < names.index(after)


def test_where_all_ranges_are_found_at_run_time_nothing_is_calibrated():
    takes = [step.take for step in DYNAMIC_STEPS]
    assert runtime_ranges in takes
    assert calibrated_ranges not in takes
    kept = [step for step in PTQ_STEPS if step in DYNAMIC_STEPS]
    assert len(kept) == len(DYNAMIC_STEPS) - 1 == len(PTQ_STEPS) - 3
    names = [step.name for step in DYNAMIC_STEPS]
    assert not {"exact forms", "cross-layer equalization"} & set(names)


# Each step


def calibrated(**how: Any) -> PtqSearch:
    made = search(**how)
    calibrated_ranges(made)
    return made


def test_a_graph_that_the_runtime_takes_is_left_as_it_is():
    made = calibrated()
    plan, start = made.plan, made.start
    without_refused_layers(made)
    assert made.plan is plan
    assert made.start.records == start.records
    assert made.stays_float is None


def test_norms_are_looked_at_in_the_plan_of_integers():
    block = model(
        """g (float[n,64] x, float[64,64] w, float[64] gain, float[64] shift)
            => (float[n,64] y)
        {
            h = MatMul(x, w)
            s = Add(h, x)
            y = LayerNormalization(s, gain, shift)
        }""",
        w=[64, 64], gain=[64], shift=[64],
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32)
    made = search(block, {"x": x}, clock=Clock(always(1.5)))
    runtime_ranges(made)
    norm_fusions(made)
    assert made.plan.plain_norms
    assert made.start.records[-1].name == "compare fusions"
    assert not made.start.plan.plain_norms, "nothing ships yet"


def test_placement_by_latency_tells_regions_and_what_leaves():
    made = calibrated(clock=Timed(always(1.5)), keep_slower=False)
    plan = made.plan
    latency_placement(made)
    assert made.placed is not None
    assert made.placed.mix.whole is plan
    assert made.plan is made.placed.plan
    assert made.start.records[-1].name == "place by measured time"
    assert set(made.placed.float_reasons) <= set(made.start.float_reasons)


@pytest.mark.parametrize("budget", [True, False])
def test_as_calibrated_is_a_candidate_within_a_budget_and_the_best_without(budget: bool):
    made = calibrated(verdicts=(False,), budget=budget)
    as_calibrated(made)
    if budget:
        assert [one.name for one in made.trials] == ["INT8"]
        assert made.best is None
    else:
        assert made.trials == []
        assert made.best is not None
        assert made.best.plan is made.plan
        assert made.best.calibration is made.calibration


def test_products_that_can_find_their_ranges_at_run_time_do():
    made = calibrated(verdicts=(judged(False, 0.9), judged(False, 0.2)))
    latency_placement(made)
    as_calibrated(made)
    dynamic_ranges(made)
    name = "INT8, ranges found at run time"
    assert [one.name for one in made.trials] == ["INT8", name]
    assert (made.plan.dynamic, made.named) == (("Gemm_7",), name)
    assert {"Conv_0", "Conv_2"} <= set(made.plan.integer)
    dynamic_ranges(made)
    assert len(made.trials) == 2, "they do already"


def test_without_regions_none_does():
    made = calibrated()
    dynamic_ranges(made)
    assert made.trials == [], "nobody looked at regions"


@pytest.mark.parametrize(
    ("step", "field", "stage", "ending"),
    [
        (adaptive_rounding, "rounded", "round weights", "weights rounded together"),
        (bias_correction, "bias", "correct biases", "biases corrected"),
    ],
)
def test_refinements_change_their_own_field_and_nothing_else(step, field, stage, ending):
    made = calibrated(verdicts=(judged(False, 0.9), judged(False, 0.2)))
    before = made.plan
    as_calibrated(made)
    step(made)
    assert made.named == f"INT8, {ending}"
    assert getattr(made.plan, field).keys() == {"Conv_0", "Conv_2", "Gemm_7"}
    assert made.plan.model_copy(update={field: {}}) == before
    free = calibrated(budget=False)
    step(free)
    assert free.start.records[-1].name == stage
    assert free.best is not None
