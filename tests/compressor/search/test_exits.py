"""Exits in the search: kept where they pay within the budget, replayed, and told."""

from copy import copy
from pathlib import Path

import numpy as np
import pytest
from pruning_graphs import residual
from seams import TARGET, Clock, Verdicts, always, looking, session_of

from calibration.dataset import CalibrationSet
from compressor import Recipe
from compressor.errors import RecipeError, TargetError
from compressor.evaluation.metrics import find_metric
from compressor.graph.files import save_model
from compressor.plan.plan import Plan
from compressor.recipe.requirements.sense import require_sense
from compressor.recipe.requirements.training import require_same_form
from compressor.search.baseline import undecided
from compressor.search.candidate import Outcome
from compressor.search.data_split import DataSplit
from compressor.search.exits import with_exits
from compressor.search.replay import replay
from compressor.search.session import Session
from exporters.base import find_target

RNG = np.random.default_rng(0)
IMAGES = (3 * RNG.standard_normal((160, 3, 8, 8))).astype(np.float32)
RECIPE = Recipe.model_validate(
    {"train": {"exits": 1}, "budget": {"max_drop": "50pt"}, "quantize": {"mode": "none"}}
)


def prepared(clock: Clock) -> tuple[Session, DataSplit]:
    with TARGET.open(residual()) as runner:
        labels = runner.run({"x": IMAGES})["y"].argmax(-1)
    session = session_of(
        residual(), RECIPE, clock, calibration={"x": IMAGES},
        evaluation={"x": IMAGES, "labels": labels},
    )  # fmt: skip
    calibration, evaluation = session.prepared.calibration, session.prepared.evaluation
    assert calibration is not None
    assert evaluation is not None
    used, held = calibration.split(0.75, 0)
    search, confirm = evaluation.split(0.5, 0)
    data = DataSplit(used, confirm, search=search, training=used, held_out=held)
    return looking(session, evaluation), data


def tried(
    clock: Clock, search: list[bool], confirm: list[bool]
) -> tuple[Session, Outcome, CalibrationSet]:
    session, data = prepared(clock)
    assert data.search is not None
    acceptance = Verdicts(data.search, search, confirm)
    return session, with_exits(session, undecided(session), data, acceptance), data.search


def test_exits_that_pay_are_kept_told_and_replayed(tmp_path: Path) -> None:
    clock = Clock(always(1.5))
    session, found, search = tried(clock, [True] * 9, [True] * 3)
    result = found.exits
    assert result is not None
    assert result.kept, result.reason
    assert [one.value for one in result.places] == ["s1", "y"]
    assert sum(one.left or 0 for one in result.places) == pytest.approx(1)
    assert result.places[-1].agreement in (1, None)
    assert result.places[0].accuracy is not None
    assert len(clock.races[-1].calls) == len(search), "timed over the samples that search"
    Plan(target="ort", seed=0, graphs={"model": found.plan}).save(tmp_path / "plan.json")
    plan = Plan.load(tmp_path / "plan.json").graphs["model"]
    again = replay(session, plan)
    assert again.exits is not None
    assert again.exits.kept
    for model, name in ((found.shipped, "one.onnx"), (again.shipped, "other.onnx")):
        save_model(model, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "other.onnx").read_bytes()


@pytest.mark.parametrize(
    ("ratio", "search", "confirm", "why"),
    [
        (1.0, [True] * 9, [True] * 3, "they have to be faster"),
        (None, [True] * 9, [True] * 3, "too busy"),
        (1.5, [False] * 9, [], "keeps the budget"),
        (1.5, [True] * 9, [False], "refused"),
    ],
)
def test_what_does_not_pay_is_reverted_and_said(
    ratio: float | None, search: list[bool], confirm: list[bool], why: str
) -> None:
    _, found, _ = tried(Clock(always(ratio)), search, confirm)
    assert found.exits is not None
    assert not found.exits.kept
    assert why in found.exits.reason
    assert found.plan.exits is None
    assert not any(node.op_type == "If" for node in found.shipped.graph)
    assert any("no exits" in said for record in found.records for said in record.notices)


def test_exits_without_a_budget_or_branches_are_refused() -> None:
    bare = Recipe.model_validate({"train": {"exits": 2}})
    with pytest.raises(RecipeError, match="--exits needs a quality budget"):
        require_sense(bare, find_target("ort"), find_metric)
    target = copy(find_target("ort"))
    target.branches = False
    with pytest.raises(TargetError, match="a graph that branches"):
        require_sense(RECIPE, target, find_metric)
    with pytest.raises(RecipeError, match="`compress train` gives no graph exits"):
        require_same_form(bare, "compress train")
