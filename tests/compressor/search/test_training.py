"""Training in the search: samples of its own, weights that replay, and what cannot work."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from pruning_graphs import residual
from seams import TARGET, Clock, session_of

from compressor import Recipe, compress
from compressor.errors import RecipeError
from compressor.evaluation.metrics import find_metric
from compressor.graph.files import save_model
from compressor.graph.stated import state
from compressor.plan.plan import Plan
from compressor.recipe.requirements.sense import require_sense
from compressor.search.baseline import undecided
from compressor.search.data_split import split_data
from compressor.search.replay import replay
from compressor.search.training import trainer_of, with_training_samples

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((96, 3, 8, 8)).astype(np.float32)
FIXED = {
    "prune": {"macs": "30%", "round": 1, "blocks": False, "method": "l2"},
    "quantize": {"mode": "none", "keep_slower": True},
    "measure": {"seconds": 0.05, "metric": "cosine"},
}


def recipe_of(train: dict[str, object], **sections: object) -> Recipe:
    return Recipe.model_validate(FIXED | {"train": {"threads": 1, **train}} | sections)


def test_a_pruned_graph_is_trained_and_its_plan_replays_without_data(tmp_path: Path) -> None:
    recipe = recipe_of({"length": "24steps", "batch": 16, "rate": 0.003})
    report = compress(residual(), calibration={"x": IMAGES}, recipe=recipe, output=tmp_path / "out")
    graph = report.graphs["model"]
    assert graph.training is not None
    assert graph.training.kept, graph.training.reason
    assert graph.training.done == 24
    assert {use.role for use in report.data} == {"calibration", "training", "evaluation"}
    made = Plan.load(tmp_path / "out" / "plan.json")
    plan = made.graphs["model"]
    assert plan.trained is not None
    assert plan.trained.weights
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "What training brought back" in page
    session = session_of(residual(), recipe_of({}), Clock())
    again = tmp_path / "again.onnx"
    save_model(replay(session, plan).shipped, again)
    state(again, made.metadata["model"])
    assert again.read_bytes() == (tmp_path / "out" / "model.onnx").read_bytes()


def test_samples_that_choose_are_seen_by_neither_ranges_nor_repair() -> None:
    recipe = recipe_of({"length": "4steps"})
    session = session_of(residual(), recipe, Clock(), calibration={"x": IMAGES})
    data = split_data(session.prepared, recipe.seed)
    assert data.calibration is not None
    found = with_training_samples(session.prepared, data, recipe)
    assert found.training is found.calibration
    assert found.training is not None
    assert found.held_out is not None
    assert len(found.training) + len(found.held_out) == len(data.calibration)
    assert with_training_samples(session.prepared, data, recipe_of({})) is data


def test_too_few_samples_are_told_in_the_report_and_the_weights_stay() -> None:
    recipe = recipe_of({"length": "2steps"})
    session = session_of(residual(), recipe, Clock(), calibration={"x": IMAGES[:16]})
    data = split_data(session.prepared, recipe.seed)
    trainer = trainer_of(session, with_training_samples(session.prepared, data, recipe))
    assert trainer is not None
    after = trainer.train(undecided(session))
    assert after.plan.trained is None
    (notice,) = after.records[-1].notices
    assert "too few" in notice


def test_training_data_of_its_own_leaves_the_calibration_data_alone(tmp_path: Path) -> None:
    file = tmp_path / "train.npz"
    np.savez(file, x=IMAGES[:40])
    recipe = recipe_of({"length": "4steps", "data": str(file), "held_out": 10})
    session = session_of(residual(), recipe, Clock(), calibration={"x": IMAGES})
    data = split_data(session.prepared, recipe.seed)
    found = with_training_samples(session.prepared, data, recipe)
    assert found.calibration is data.calibration
    assert found.training is not None
    assert found.held_out is not None
    assert (len(found.training), len(found.held_out)) == (30, 10)


def test_weights_that_are_no_better_stay_and_the_record_says_why() -> None:
    recipe = recipe_of({"length": "2steps"})
    session = session_of(residual(), recipe, Clock(), calibration={"x": IMAGES})
    data = split_data(session.prepared, recipe.seed)
    trainer = trainer_of(session, with_training_samples(session.prepared, data, recipe))
    assert trainer is not None
    start = undecided(session)
    after = trainer.train(start)
    assert after.plan.trained is None
    assert after.plain is start.plain
    assert after.training is not None
    assert "did not fall" in after.training.reason
    assert after.records[-1].name == "train"


@pytest.mark.parametrize(
    ("train", "sections", "said"),
    [
        ({"data": "x.npz"}, {}, "--train-data belongs to a training"),
        ({"length": "1m"}, {"prune": {}}, "neither is asked for"),
        ({"length": "1m"}, {"pipeline": {"loop": "a.py:b"}}, "is of single models"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    train: dict[str, object], sections: dict[str, object], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        require_sense(recipe_of(train, **sections), TARGET, find_metric)


def test_a_plan_with_trained_weights_of_another_graph_is_refused(tmp_path: Path) -> None:
    from compressor.graph.writing import with_weights

    with pytest.raises(RecipeError, match="which the graph lacks"):
        with_weights(residual(), {"nothing": np.zeros(3, np.float32)})
    with pytest.raises(RecipeError, match=r"of shape \[3\]"):
        with_weights(residual(), {"w4": np.zeros(3, np.float32)})
    assert isinstance(with_weights(residual(), {}), ir.Model)
