"""`compress search`, whole: a study that goes on, plans that replay, a pick that is confirmed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import residual

from compressor import compress
from compressor.commands.search import search
from compressor.commands.search_pick import pick, require_picked
from compressor.errors import GoalError, OutputError, RecipeError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.graph.files import save_model
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.recipe.searching import SearchOptions
from compressor.results.environment import environment
from compressor.results.front import Found, SearchReport, SearchTrial
from compressor.search.recipes.evaluating import Yardsticks
from compressor.search.recipes.limits import parse_pick

pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("quick")

SPACE = {"regions": {"low": 0.5, "high": 1.0, "step": 0.5}, "ranges": ["minmax", "percentile"]}
HELD = {"equalization": "none", "rounding": "nearest", "bias": "plain", "prune": 0.0, "blocks": 0}


def recipe(**more: Any) -> Recipe:
    options = {
        "objectives": ("quality", "size"),
        "sampler": "grid",
        "trials": 2,
        "space": SPACE | HELD | {"precision": ["int8", "int8-weights"]},
    }
    return Recipe(
        quantize=QuantizeOptions(cpu="avx2", batch=8),
        measure=MeasureOptions(seconds=0.05, metric="cosine"),
        budget=BudgetOptions(max_drop="50%", accept="point"),
        search=SearchOptions(**(options | more)),
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    path = tmp_path_factory.mktemp("search") / "model.onnx"
    save_model(residual(), path)
    x = np.random.default_rng(0).standard_normal((48, 32, 8, 8)).astype(np.float32)
    return path, {"x": x}


@pytest.fixture(scope="module")
def folder(paths: tuple[Path, dict[str, np.ndarray]]) -> Path:
    """A search of two trials that went on to four."""
    model, data = paths
    found = model.parent / "front"
    first = search(model, calibration=data, recipe=recipe(), output=found)
    assert len(first.trials) == 2
    search(model, calibration=data, recipe=recipe(trials=4), output=found)
    return found


def test_a_search_goes_on_and_tries_nothing_twice(folder: Path) -> None:
    report = SearchReport.model_validate_json((folder / "front.json").read_text())
    assert [trial.number for trial in report.trials] == [0, 1, 2, 3]
    assert len({json.dumps(trial.recipe) for trial in report.trials}) == 4
    assert len(report.hypervolume) == 4
    assert list(report.hypervolume) == sorted(report.hypervolume)
    assert {trial.state for trial in report.trials} <= {"front", "dominated", "infeasible"}
    page = (folder / "front.html").read_text()
    assert "<svg" in page
    assert "none of them confirms anything" in page


def test_what_is_picked_is_confirmed_and_replays_to_the_same_bytes(
    folder: Path, paths: tuple[Path, dict[str, np.ndarray]]
) -> None:
    model, data = paths
    report = search(model, calibration=data, recipe=recipe(trials=4, pick="knee"), output=folder)
    assert len(report.trials) == 4
    assert report.picked is not None
    assert report.picked.met is True
    plan = folder / f"plans/trial-{report.picked.trial:03d}/plan.json"
    again = model.parent / "again"
    options = Recipe(measure=MeasureOptions(seconds=0.05))
    compress(model, calibration=data, recipe=options, plan=plan, output=again)
    one, other = (path / "model.onnx" for path in (again, folder / "picked"))
    assert one.read_bytes() == other.read_bytes()
    with pytest.raises(OutputError, match="holds a result of compress, and no search"):
        search(model, calibration=data, recipe=recipe(), output=folder / "picked")


def test_a_study_of_other_data_is_left_alone(
    folder: Path, paths: tuple[Path, dict[str, np.ndarray]]
) -> None:
    before = (folder / "front.json").read_bytes()
    other = {"x": paths[1]["x"][:40]}
    with pytest.raises(UsageError, match="is of another set of calibration samples"):
        search(paths[0], calibration=other, recipe=recipe(), output=folder)
    assert (folder / "front.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limits": ("speed<=2",)}, "expected a limit on latency, quality, size, memory"),
        ({"pick": "fastest"}, "expected a limit on latency, quality, size, memory, or knee"),
        ({"space": {"width": 3}}, "has no variable 'width'"),
        ({"space": {"ranges": ["auto", "guessed"]}}, "ranges: unknown range method 'guessed'"),
        ({"space": {"ranges": []}}, "ranges: expected one word or more, found no value"),
        ({"space": {"training": "forever"}}, "training: the training of 'forever'"),
        ({"space": {"prune": {"low": 0.4, "high": 0.1}}}, "prune: expected numbers from 0 to"),
        ({"space": {"blocks": -1}}, "blocks: expected whole numbers from 0 on, found -1"),
        ({"space": {"region:conv": "int4"}}, "region:conv: expected float, int8"),
        ({"pick": "memory<=1GB"}, "--pick memory<=1GB: memory is no objective of this search"),
        ({"validation": "leave-one-out"}, "expected holdout, kfold:K"),
        ({"sampler": "cmaes"}, "optimizes one objective"),
    ],
)
def test_what_means_nothing_is_refused_before_any_work(
    options: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=told) as found:
        search(tmp_path / "none.onnx", recipe=recipe(**options), output=tmp_path / "out")
    assert found.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("field", [{"sampler": "annealing"}, {"objectives": ("beauty",)}])
def test_unknown_names_are_told_in_a_line(field: dict[str, Any]) -> None:
    from compressor.recipe.reading import load_recipe

    with pytest.raises(RecipeError, match="field 'search") as found:
        load_recipe(None, {"search": field})
    assert "\n" not in found.value.message


def fronted(*rows: tuple[float, float]) -> SearchReport:
    trials = tuple(
        SearchTrial(
            number=number,
            recipe={},
            state="front",
            values={"latency": seconds, "quality": loss},
            found=Found(loss=loss),
            plan="plan.json",
        )
        for number, (seconds, loss) in enumerate(rows)
    )
    return SearchReport(
        source="m",
        target="ort",
        created="now",
        seconds=1.0,
        objectives=("latency", "quality"),
        metric="accuracy",
        unit="%",
        sampler="tpe",
        seed=0,
        validation="holdout",
        space={},
        trials=trials,
        front=tuple(range(len(rows))),
        environment=environment(),
    )


def test_a_pick_is_the_best_that_keeps_the_limits() -> None:
    report = fronted((0.001, 3.0), (0.002, 1.0), (0.004, 0.5))
    held = Yardsticks(find_metric("accuracy"), 80.0, ("latency", "quality"))
    assert pick(report, parse_pick("latency<=2ms"), held).number == 1
    assert pick(report, parse_pick("quality<=4%"), held).number == 0
    assert pick(report, parse_pick("quality<=1%"), held).number == 2
    assert pick(report, parse_pick("knee"), held).number == 1
    with pytest.raises(GoalError, match=r"keeps latency<=0\.5ms: the least is 1 ms"):
        pick(report, parse_pick("latency<=0.5ms"), held)
    with pytest.raises(UsageError, match="size is no objective"):
        pick(report, parse_pick("size<=1MB"), held)
    with pytest.raises(GoalError, match="nothing can be picked"):
        pick(fronted(), parse_pick("knee"), held)


def test_a_front_without_points_is_told_with_the_least_loss() -> None:
    report = fronted((0.001, 3.0)).model_copy(update={"front": ()})
    with pytest.raises(GoalError, match="no trial of 1 keeps the budget and the limits; the least"):
        require_picked(report)
    require_picked(fronted((0.001, 3.0)))


def test_the_package_is_the_command() -> None:
    import compressor

    with pytest.raises(UsageError, match="optimizes one objective"):
        compressor.search("none.onnx", recipe=recipe(), sampler="cmaes")
    with pytest.raises(RecipeError, match="has no variable 'width'"):
        compressor.search("none.onnx", space={"width": 3})
