"""The budget as users write it, and what it allows."""

import math

import pytest

from compressor.errors import RecipeError
from compressor.recipe.budget import BudgetOptions, parse_budget, parse_duration


@pytest.mark.parametrize(
    ("text", "baseline", "allowed"),
    [
        ("1%", 80.0, 0.8),
        (" 2.5 % ", -40.0, 1.0),
        ("1%", 1.0, 0.01),
        ("0.5pt", 80.0, 0.5),
        (".5 points", 0.0, 0.5),
        ("0pt", 80.0, 0.0),
    ],
)
def test_relative_is_of_the_baseline_and_absolute_is_in_the_unit(
    text: str, baseline: float, allowed: float
) -> None:
    assert parse_budget(text).allowed(baseline, "accuracy") == pytest.approx(allowed)


def test_a_share_that_lets_everything_go_holds_nothing() -> None:
    for text in ("100%", "200%"):
        with pytest.raises(RecipeError, match=f"{text} holds nothing") as error:
            parse_budget(text).require_hold("accuracy", higher_is_better=True)
        assert "--max-drop 1%" in str(error.value)
        parse_budget(text).require_hold("perplexity", higher_is_better=False)
    parse_budget("99%").require_hold("accuracy", higher_is_better=True)
    assert parse_budget("50pt").takes_all(0.98) and not parse_budget("0.5pt").takes_all(0.98)


def test_a_loss_is_not_negative() -> None:
    for text in ("-1%", "-.5 pt"):
        with pytest.raises(RecipeError, match="below zero"):
            parse_budget(text)


@pytest.mark.parametrize("text", ["1", "one percent", "", "1 dB", "1e-3%"])
def test_what_leaves_the_meaning_open_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="not understood") as error:
        parse_budget(text)
    assert "0.5pt" in str(error.value)


def test_nothing_is_relative_to_zero_or_to_infinity() -> None:
    with pytest.raises(RecipeError, match="it is 0") as error:
        parse_budget("1%").allowed(0.0, "mse")
    assert "0.5pt" in str(error.value)
    for value in (math.inf, math.nan):
        with pytest.raises(RecipeError, match="sqnr"):
            parse_budget("1pt").allowed(value, "sqnr")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2 min", 120), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["0s", "soon", "-1m", ""])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(RecipeError, match="not understood"):
        parse_duration(text)


def test_recipe_checks_what_it_is_given() -> None:
    assert BudgetOptions().allowed is None
    assert BudgetOptions(time="2m").seconds == 120
    with pytest.raises(RecipeError):
        BudgetOptions(max_drop="1")
    with pytest.raises(RecipeError):
        BudgetOptions(time="soon")
