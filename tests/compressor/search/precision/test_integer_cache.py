"""When a decoder's cache becomes integers: asked for, in budget, and for `auto` faster."""

from dataclasses import replace

import pytest
from cached_decoder import calls, decoder
from graphs import residual
from seams import Timed, Verdicts, always, images, searching, session_of

from compressor.errors import RecipeError
from compressor.plan.realize import realize
from compressor.quantization.dynamic import place_dynamic
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.targets import require_mode
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.precision.integer_cache import with_integer_cache
from compressor.search.precision.ranges import calibrated_ranges
from compressor.search.replay import replay
from compressor.search.session import Session
from exporters.base import find_target


def recipe(mode: str) -> Recipe:
    options = {"kv_cache": mode, "cpu": "vnni", "batch": 4}
    return Recipe(
        quantize=QuantizeOptions.model_validate(options),
        measure=MeasureOptions(seconds=0.05, context=16),
    )


def quantized(mode: str, ratio: float = 1.2) -> tuple[Session, Outcome]:
    """A decoder with its products in 8 bits."""
    session = session_of(
        decoder(), recipe(mode), Timed(always(ratio)), calibration=calls(samples=8)
    )
    start = undecided(session)
    dynamic = place_dynamic(start.graph, session.target.policy("vnni")).integer
    plan = start.plan.model_copy(update={"ship": "int8", "dynamic": dynamic})
    made = realize(start.graph, plan, session.target)
    return session, start.then(plan=plan, shipped=made)


def cached(session: Session, found: Outcome, *verdicts: bool, asked: str | None = "1%") -> Outcome:
    data = session.prepared.calibration
    return with_integer_cache(session, found, data, Verdicts(data, verdicts, asked=asked))


def inputs(found: Outcome) -> dict[str, str]:
    return {value.name or "": str(value.dtype) for value in found.shipped.graph.inputs}


def test_what_is_asked_for_ships_and_is_replayed():
    session, found = quantized("int8")
    made = cached(session, found, asked=None)
    assert set(made.plan.cache) == {"past_key", "past_value"}
    assert inputs(made)["past_key"] == "UINT8"
    assert any("manifest.json" in said for said in made.records[-1].notices)
    again = replay(session, made.plan)
    assert inputs(again) == inputs(made)


@pytest.mark.parametrize(
    ("mode", "verdict", "ratio", "asked", "ships"),
    [
        ("int8", False, 1.2, "1%", False),
        ("int8", True, 0.8, "1%", True),
        ("auto", True, 1.2, "1%", True),
        ("auto", True, 1.0, "1%", False),
        ("auto", False, 1.2, "1%", False),
        ("auto", True, 1.2, None, False),
        ("float", True, 1.2, "1%", False),
    ],
)
def test_a_budget_and_for_auto_the_speed_decide(mode, verdict, ratio, asked, ships):
    made = cached(*quantized(mode, ratio), verdict, asked=asked)
    assert bool(made.plan.cache) is ships
    if mode != "float" and not ships:
        assert any("the cache stays float" in said for said in made.records[-1].notices)


def test_why_there_is_none():
    session = session_of(residual(), recipe("int8"), Timed(), calibration=images(8, 0))
    start = undecided(session)
    plan = start.plan.model_copy(update={"ship": "int8"})
    made = cached(session, start.then(plan=plan), asked=None)
    assert made.records[-1].decisions[0].reason == "no input is one that grows and comes out again"


def test_a_target_that_is_not_given_integers_refuses():
    with pytest.raises(RecipeError, match="--kv-cache int8"):
        require_mode(recipe("int8").quantize, find_target("trt"))


def test_q_and_dq_around_a_cache_give_way():
    session, _ = quantized("int8")
    data = session.prepared.calibration
    search = searching(session, Verdicts(data, asked=None), data)
    calibrated_ranges(search)
    static = realize(search.graph, search.plan, session.target)
    found = replace(search.start, shipped=static).then(plan=search.plan)
    made = cached(session, found, asked=None)
    assert set(made.plan.cache) == {"past_key", "past_value"}
