"""How far to prune, as people write it, and the recipe that holds it."""

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compressor.errors import RecipeError
from compressor.recipe.goal import FLAGS, Part, parse_goal, time_words
from compressor.recipe.pruning import PruneOptions
from compressor.recipe.reading import load_recipe
from compressor.recipe.recipe import Recipe

KINDS = st.sampled_from(sorted(FLAGS))


@pytest.mark.parametrize(
    ("kind", "text", "amount"),
    [
        ("macs", "30%", 0.3),
        ("macs", "0.3", 0.3),
        ("params", " 12.5 % ", 0.125),
        ("speedup", "1.5x", 1.5),
        ("speedup", "2×", 2.0),
        ("speedup", "1.25", 1.25),
        ("latency", "4ms", 0.004),
        ("latency", "250us", 0.00025),
        ("latency", "0.5 s", 0.5),
        ("size", "5MB", 5e6),
        ("size", "512KiB", 512 * 1024.0),
        ("threshold", "0.05", 0.05),
        ("threshold", "5%", 0.05),
    ],
)
def test_a_goal_is_read_in_its_own_unit(kind: str, text: str, amount: float):
    goal = parse_goal(kind, text)
    assert goal.amount == pytest.approx(amount)
    assert goal.flag == f"{FLAGS[kind]} {text.strip()}"
    assert goal.timed == (kind in ("speedup", "latency"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("macs", "30"),
        ("macs", "0%"),
        ("macs", "100%"),
        ("params", "-5%"),
        ("speedup", "1x"),
        ("speedup", "0.5x"),
        ("latency", "4"),
        ("latency", "0ms"),
        ("size", "large"),
        ("size", "0MB"),
        ("size", "5"),
        ("size", "5."),
        ("size", ""),
        ("threshold", "0"),
        ("threshold", "1"),
        ("threshold", "100%"),
        ("threshold", "5%%"),
    ],
)
def test_what_is_no_goal_is_refused_with_an_example(kind: str, text: str):
    with pytest.raises(RecipeError, match=FLAGS[kind]) as error:
        parse_goal(kind, text)
    assert "above" in (error.value.hint or "")


@given(st.floats(0.01, 99.99))
def test_any_share_between_nothing_and_everything_is_a_goal(percentage: float):
    text = f"{percentage:.4f}%"
    assert parse_goal("macs", text).amount == pytest.approx(percentage / 100, abs=1e-6)


@given(KINDS, st.text(max_size=12))
def test_any_text_is_a_goal_that_asks_for_something_or_a_clear_error(kind: str, text: str):
    try:
        goal = parse_goal(kind, text)
    except RecipeError:
        return
    assert 0 < goal.amount < math.inf
    assert goal.amount < 1 or kind not in ("macs", "params")
    assert goal.amount > 1 or kind != "speedup"


@pytest.mark.parametrize(("kind", "least"), [("speedup", 0.9), ("latency", 0.9), ("size", 1.0)])
def test_only_measured_times_may_fall_short(kind: str, least: float):
    goal = parse_goal(kind, {"speedup": "2x", "latency": "1ms", "size": "1MB"}[kind])
    assert goal.is_met(least)
    assert goal.is_met(2.0)
    assert not goal.is_met(least - 1e-6)


def test_none_is_no_goal_and_switches_pruning_off():
    assert PruneOptions(macs="none").goal is None
    assert (PruneOptions(macs="none").off, PruneOptions().off) == (True, False)
    with pytest.raises(RecipeError, match="--params 'none' is not understood"):
        PruneOptions(params="none")


def test_one_goal_at_most():
    assert PruneOptions().goal is None
    assert PruneOptions(latency="4ms").goal == parse_goal("latency", "4ms")
    with pytest.raises(ValidationError, match="--prune and --size cannot both say how far"):
        PruneOptions(macs="30%", size="5MB")


@pytest.mark.parametrize("least", [0.25, "0.25", "25%", " 25 % "])
def test_what_stays_is_a_share_in_either_form(least: object):
    assert load_recipe(None, {"prune": {"least": least}}).prune.least == 0.25


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"macs": "30%", "params": "50%"}, "--prune and --params cannot both"),
        ({"method": "hessian"}, "'prune.method'"),
        ({"least": 0.0}, "'prune.least'"),
        ({"least": "0%"}, "'prune.least'"),
        ({"least": "200%"}, "'prune.least'"),
        ({"least": "some"}, "'prune.least'"),
        ({"round": 0}, "'prune.round'"),
        ({"threshold": "0.1"}, "--prune-threshold is of norms: it needs --prune-method l2 or l1"),
        ({"threshold": "0.1", "macs": "30%", "method": "l2"}, "cannot both say how far"),
    ],
)
def test_a_recipe_says_which_field_is_wrong(values: dict[str, object], said: str):
    with pytest.raises(RecipeError, match=said):
        load_recipe(None, {"prune": values})


def test_a_goal_that_is_not_understood_names_its_flag():
    with pytest.raises(RecipeError, match="--speedup 'fast' is not understood"):
        load_recipe(None, {"prune": {"speedup": "fast"}})


def test_the_recipe_goes_through_its_manifest():
    recipe = Recipe(prune=PruneOptions(macs="30%", leave=("*head*",)))
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("text", ["2.5203x", "1.1x"])
def test_a_part_of_a_goal_says_what_it_is_a_part_of(text: str):
    goal = parse_goal("speedup", Part.of("1.5x", text))
    assert goal.flag == f"{text} (its part of --speedup 1.5x)"
    assert goal.amount == float(text[:-1])
    kept = PruneOptions().model_copy(update={"speedup": Part.of("1.5x", text)})
    assert kept.goal == goal
    assert kept.model_dump() == PruneOptions(speedup=text).model_dump()
    assert copy.deepcopy(kept).goal == goal
    assert time_words(Part.of("60s", "12.5s")) == "12.5s (its part of --time-budget 60s)"
    assert time_words("60s") == "60s"
