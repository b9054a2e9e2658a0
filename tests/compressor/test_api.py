"""The Python face: keyword arguments, warnings, callbacks, and what a report shows of itself."""

import warnings

import pytest

import compressor
from compressor.api import Watched, shown
from compressor.cli.places import PLACES
from compressor.errors import CompressionWarning, RecipeError, UsageError
from compressor.options import Options, recipe_with
from compressor.recipe.recipe import Recipe
from compressor.system.progress import SILENT, say, tell


def test_keywords_are_flags_laid_over_a_recipe():
    base = Recipe.model_validate({"seed": 3, "measure": {"metric": "cosine"}})
    found = recipe_with(base, {"max_drop": "1%", "image_size": 32, "metric": None, "seed": 4})
    assert (found.budget.max_drop, found.seed, found.measure.metric) == ("1%", 4, "cosine")
    assert found.data.preprocess.size == (32, 32)
    assert recipe_with(None, {"budget": "point"}).budget.accept == "point"
    assert recipe_with(base, {}) is base


def test_every_typed_keyword_is_a_flag():
    known = set(PLACES) | {"budget", "effort"}
    assert set(Options.__annotations__) <= known


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"quantize": "int9"}, r"quantize='int9': .*'int8'"),
        ({"max_drop": "much"}, r"max_drop='much': "),
        ({"batch": 0}, r"batch=0: .*greater than 0"),
        ({"crop": 2.0}, r"crop=2.0: .*less than or equal to 1"),
    ],
)
def test_a_wrong_value_names_the_keyword_and_what_is_allowed(option, said):
    with pytest.raises(RecipeError, match=said) as info:
        recipe_with(None, option)
    assert info.value.hint


def test_an_unknown_keyword_is_told_what_it_may_mean():
    with pytest.raises(UsageError, match="there is no option 'max_dropp'") as info:
        compressor.compress("model.pt", max_dropp="1%")
    assert info.value.hint == "Did you mean 'max_drop'?"
    with pytest.raises(UsageError, match="called 'calibration' in Python"):
        compressor.compress("model.pt", calib="x.npz")


def test_what_a_user_should_know_is_a_warning_of_the_users_line():
    watched = Watched(False, None, None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watched.notice("the data does not vary")
    (one,) = caught
    assert one.category is CompressionWarning
    assert one.filename == __file__


def test_callbacks_hear_stages_and_each_candidate_once():
    stages, candidates = [], []

    class Told:
        name = "INT8"

    watched = Watched(False, lambda *said: stages.append(said), candidates.append)
    with watched.stage("capture", 2) as advance:
        advance(1)
    tell(watched, Told())
    tell(watched, Told())
    assert [name for name, _ in stages] == ["capture", "capture"]
    assert stages[0][1] is None
    assert stages[1][1] >= 0
    assert len(candidates) == 1


def test_progress_is_silent_where_nobody_watches_and_refuses_what_is_none():
    assert shown(None) is SILENT  # under pytest there is no terminal
    assert shown(False) is SILENT
    assert hasattr(shown(True), "stage")
    with pytest.raises(UsageError, match="progress is a str"):
        shown("yes")


def test_the_version_is_that_of_the_package():
    assert compressor.__version__.split(".")[0].isdigit()


def test_a_tracker_that_is_missing_is_refused_before_the_run(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match="--track wandb needs the package wandb") as info:
        compressor.compress("missing.pt", track="wandb")
    assert "compressor[wandb]" in info.value.hint
    with pytest.raises(UsageError, match="there is no such tracker") as info:
        compressor.compress("missing.pt", track=["excel"])
    assert "mlflow, tensorboard, wandb" in info.value.hint


def test_how_far_a_run_has_come_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say(Watched(False, None, None), "now graph unet: 10 calls a unit")

    class Own:
        def __init__(self) -> None:
            self.told: list[str] = []

        def stage(self, name: str, total: int | None = None):
            raise NotImplementedError

        def notice(self, text: str) -> None:
            self.told.append(text)

    own = Own()
    say(Watched(own, None, None), "now graph unet: 10 calls a unit")
    assert own.told == ["now graph unet: 10 calls a unit"], "one without is told both alike"


@pytest.mark.parametrize("units", [1, 0, -3, 2.5, True, "64"])
def test_units_that_cannot_judge_are_refused_before_the_run(units):
    with pytest.raises(UsageError, match="units are"):
        compressor.compress({"h": object()}, pipeline=print, units=units, max_drop="1%")


def test_units_without_a_pipeline_are_refused():
    with pytest.raises(UsageError, match="units= are of a pipeline"):
        compressor.compress("model.onnx", units=64)
