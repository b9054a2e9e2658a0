"""`--effort` lies below all else that is said, and asks for nothing that makes no sense."""

import pytest

from compressor.options import recipe_with
from compressor.recipe.reading import load_recipe
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.sense import require_sense
from exporters.base import find_target


def test_a_quick_run_needs_no_quality_budget():
    recipe = load_recipe(None, {}, effort="fast")
    assert (recipe.data.samples, recipe.measure.seconds) == (128, 1.0)
    assert recipe.budget.time is None
    require_sense(recipe, find_target("ort"), lambda name: None)


@pytest.mark.parametrize("said_in", ["flags", "recipe"])
def test_it_gives_a_search_within_a_budget_its_time(said_in, tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('[budget]\nmax_drop = "1%"\n' if said_in == "recipe" else "")
    flags = {"budget": {"max_drop": "1%"}} if said_in == "flags" else {}
    assert load_recipe(path, flags, effort="fast").budget.time == "60s"


def test_a_recipe_goes_before_it(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("[data]\nsamples = 500\n")
    assert load_recipe(path, {}, effort="fast").data.samples == 500
    base = Recipe.model_validate({"data": {"samples": 500}})
    assert recipe_with(base, {"effort": "fast"}).data.samples == 500
    assert recipe_with(None, {"effort": "fast"}).data.samples == 128
