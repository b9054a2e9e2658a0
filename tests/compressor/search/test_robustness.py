"""Robust accuracy from the front door: what is measured, what decides, and what is refused."""

import numpy as np
import onnx_ir as ir
import pytest
from seams import TARGET, Clock, looking, session_of

from compressor import Recipe, compare
from compressor.errors import RecipeError
from compressor.evaluation.metrics import find_metric
from compressor.graph.writing import with_weights
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.requirements.sense import require_sense
from compressor.search.data_split import split_data
from compressor.search.measure import yardstick
from compressor.search.quality_budget import divided_for_budget

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 3, 64)
X = (np.eye(3)[LABELS] + 0.2 * RNG.standard_normal((64, 3))).astype(np.float32)
DATA = {"x": X, "label": LABELS}
ROBUST = ["robust_accuracy", "fgsm_accuracy", "pgd_accuracy"]
ROBUST += [f"transferred_{name}" for name in ROBUST[1:]]


def scorer(operator: str = "Tanh") -> ir.Model:
    return ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,3] x) => (float[n,3] logits) "
        "<float[3,3] w = {1, 0, 0, 0, 1, 0, 0, 0, 1}> "
        f"{{ h = {operator} (x) logits = MatMul (h, w) }}"
    )


def recipe_of(budget: str | None = None, **measure: object) -> Recipe:
    return Recipe.model_validate(
        {
            "measure": {"metric": "robust-accuracy", "radius": "1/4", "memory": False, **measure},
            "budget": {"max_drop": budget},
        }
    )


def test_two_models_are_compared_with_every_attack_beside_plain_accuracy() -> None:
    weaker = with_weights(scorer(), {"w": np.float32([[1, 0.7, 0], [0, 1, 0.7], [0.7, 0, 1]])})
    recipe = recipe_of(seconds=0.05)
    found = compare(scorer(), weaker, evaluation=DATA, recipe=recipe)
    assert [one.metric for one in found.quality] == ["accuracy", *ROBUST]
    rows = {one.metric: one for one in found.quality}
    assert rows["accuracy"].baseline == 100
    for name in ROBUST:
        one = rows[name]
        assert one.settings == "FGSM and PGD of 10 steps, radius 0.25"
        assert one.interval is not None
        assert one.baseline is not None
        assert one.result is not None
        assert one.result < one.baseline < 100
    assert any("by at most 0.25" in said for said in found.notices)


def test_a_budget_holds_the_robust_accuracy_and_without_one_the_plain_decides() -> None:
    for budget, first in ((None, "accuracy"), ("5pt", "robust_accuracy")):
        recipe = recipe_of(budget)
        session = session_of(scorer(), recipe, Clock(), evaluation=DATA)
        assert session.prepared.evaluation is not None
        found = yardstick(session.prepared, recipe, TARGET, session.prepared.evaluation)
        assert found.metrics[0].name == first
        assert {one.name for one in found.metrics} == {"accuracy", *ROBUST}


def test_candidates_are_attacked_within_a_budget_and_one_without_gradients_is_refused() -> None:
    recipe = recipe_of("30pt")
    recipe = recipe.model_copy(update={"budget": BudgetOptions(max_drop="30pt", accept="point")})
    session = session_of(scorer(), recipe, Clock(), evaluation=DATA)
    assert session.prepared.evaluation is not None
    session = looking(session, session.prepared.evaluation)
    _, budget = divided_for_budget(session, split_data(session.prepared, recipe.seed))
    assert budget.accepts(scorer()).loss == 0
    scaled = with_weights(scorer(), {"w": 3 * np.eye(3, dtype=np.float32)})
    assert budget.accepts(scaled).accepted
    refused = budget.accepts(scorer("Shrink <lambd = 0.0>"))
    assert not refused.accepted
    assert refused.quality is not None
    assert "robust_accuracy of the result is not known" in (refused.quality.reason or "")
    assert "Shrink" in (refused.quality.reason or "")


def test_a_model_that_cannot_be_attacked_is_told_and_a_budget_on_it_refused() -> None:
    recipe = recipe_of()
    strange = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["" : 20]>\n'
        "g (float[n,3] x) => (float[n,3] logits) { h = Shrink (x) z = Sub (h, h) "
        "logits = Add (x, z) }"
    )
    session = session_of(strange, recipe, Clock(), evaluation=DATA)
    assert session.prepared.evaluation is not None
    data = session.prepared.evaluation
    found = yardstick(session.prepared, recipe, TARGET, data)
    assert [one.name for one in found.metrics] == ["accuracy"]
    (notice,) = (said for said in found.notices if said.startswith("robust_accuracy is not"))
    assert "Shrink" in notice
    with pytest.raises(RecipeError, match="cannot be held, as the model cannot be attacked"):
        yardstick(session.prepared, recipe_of("5pt"), TARGET, data)


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        ({"radius": None}, "says nothing without a radius"),
        ({"metric": "accuracy"}, "the metric makes none"),
        ({"metric": None}, "the metric makes none"),
    ],
)
def test_metric_and_radius_belong_together(measure: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        require_sense(recipe_of(**measure), TARGET, find_metric)


def test_a_pipeline_has_no_single_input_to_attack() -> None:
    recipe = recipe_of().model_copy(update={"pipeline": Recipe.model_validate(
        {"pipeline": {"loop": "loop.py:generate"}}).pipeline})  # fmt: skip
    with pytest.raises(RecipeError, match="single models, and a pipeline is given"):
        require_sense(recipe, TARGET, find_metric)
