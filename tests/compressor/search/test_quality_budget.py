"""The budget that candidates are held to, and what the data can prove of it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st
from seams import Clock, Told, session_of

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, RecipeError
from compressor.evaluation.acceptance import least_samples
from compressor.evaluation.metrics.base import BASELINE, RESULT, Scores
from compressor.recipe.budget import Budget, BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.search.acceptance import NoBudget
from compressor.search.data_split import DataSplit, looked_at, split_data
from compressor.search.quality_budget import METHODS, QualityBudget, divided_for_budget

X = np.random.default_rng(0).standard_normal((400, 16)).astype(np.float32)


def net(*, noise: float = 0.0, second: bool = False) -> ir.Model:
    """A product with as much noise in its weight; perhaps another output."""
    made = model(
        "g (float[n,16] x, float[16,4] w) => (float[n,4] logits"
        + (", float[n,4] other" if second else "")
        + ") { logits = MatMul(x, w) "
        + ("other = Neg(logits) }" if second else "}"),
        w=[16, 4],
    )
    weight = made.graph.initializers["w"].const_value
    assert weight is not None
    change = noise * np.random.default_rng(1).standard_normal((16, 4))
    moved = (weight.numpy() + change).astype(np.float32)
    made.graph.initializers["w"].const_value = ir.tensor(moved, name="w")
    return made


def answers(x: np.ndarray) -> np.ndarray:
    """What the network says: so its accuracy is 100 %."""
    weight = net().graph.initializers["w"].const_value
    assert weight is not None
    return (x @ weight.numpy()).argmax(axis=1)


def budget(
    max_drop: str,
    samples: int = 400,
    *,
    labels: bool = True,
    made: ir.Model | None = None,
    told: Told | None = None,
    metric: str | None = None,
    features: object = None,
    **options: Any,
) -> QualityBudget:
    recipe = Recipe(
        measure=MeasureOptions(metric=metric, features=features),
        quantize=QuantizeOptions(batch=32),
        budget=BudgetOptions(max_drop=max_drop, **options),
    )
    data = {"x": X[:samples]}
    data |= {"label": answers(X[:samples])} if labels else {}
    progress = told or Told()
    session = session_of(made or net(), recipe, Clock(), evaluation=data, progress=progress)
    split = split_data(session.prepared, recipe.seed)
    prepared = looked_at(session.prepared, split, recipe, session.target, progress)
    progress.notices.clear()
    _, found = divided_for_budget(replace(session, prepared=prepared), split)
    assert isinstance(found, QualityBudget)
    return found


def test_what_loses_nothing_is_accepted_and_confirmed():
    held = budget("5%")
    assert held.provable
    assert held.notices == ()
    for judged in (held.accepts(net()), held.confirms(net())):
        assert judged.accepted
        assert judged.loss == 0.0
    assert held.accepts(net()).quality is not None
    assert held.confirms(net()).quality is None, "the report measures what ships itself"


def test_each_half_judges_by_its_own_samples():
    held = budget("5%")
    seen = []
    for judged, samples in (
        (held.accepts(net(noise=0.05)), held.halves.search),
        (held.confirms(net(noise=0.05)), held.halves.confirm),
    ):
        x = np.concatenate([batch.inputs["x"] for batch in samples.batches(64)])
        weight = net(noise=0.05).graph.initializers["w"].const_value
        assert weight is not None
        wrong = 100 * (answers(x) != (x @ weight.numpy()).argmax(axis=1)).mean()
        assert wrong > 0
        assert judged.loss == pytest.approx(wrong)
        seen.append(judged.words)
    assert "on the search samples" in seen[0]
    assert "on the confirming samples" in seen[1]


def test_what_loses_more_than_the_bound_allows_is_refused_and_a_point_may_pass():
    bound, point = budget("25pt"), budget("25pt", accept="point")
    some = net(noise=0.09)
    by_bound, by_point = bound.accepts(some), point.accepts(some)
    assert by_bound.loss == by_point.loss < 25
    assert not by_bound.accepted
    assert by_point.accepted
    judgement = by_bound.judgement
    assert judgement is not None
    assert judgement.bound is not None
    assert by_bound.loss < judgement.allowed < judgement.bound
    assert "refused on the search samples" in by_bound.words
    assert not point.accepts(net(noise=1.0)).accepted


def embedding(noise: float) -> ir.Model:
    """Vectors of length 1, with so much noise in what makes them."""
    made = model(
        "g (float[n,16] x, float[16,16] w) => (float[n,16] y) "
        "{ p = MatMul(x, w) y = LpNormalization(p) }",
        w=[16, 16],
    )
    value = made.graph.initializers["w"]
    assert value.const_value is not None
    change = noise * np.random.default_rng(1).standard_normal((16, 16))
    weight = np.eye(16) + change
    value.const_value = ir.tensor(weight.astype(np.float32), name="w")
    return made


def test_embeddings_that_lose_their_neighbours_are_refused_whatever_their_cosine():
    held = budget("5%", labels=False, made=embedding(0.0))
    assert [metric.name for metric in held.yardstick.metrics] == ["cosine", "neighbours"]
    near, far = embedding(0.01), embedding(0.06)
    assert held.accepts(near).accepted
    assert held.confirms(near).accepted
    for found in (held.accepts(far), held.confirms(far)):
        assert not found.accepted
        assert found.judgement is not None
        assert found.judgement.met, "the cosine alone keeps the budget"
        assert "have another nearest neighbour, and for such a budget 22.4 % may" in found.words


def test_a_result_that_is_no_number_is_refused():
    broken = net()
    weight = np.full((16, 4), np.nan, np.float32)
    broken.graph.initializers["w"].const_value = ir.tensor(weight, name="w")
    held = budget("5%", metric="cosine")
    judged = held.accepts(broken)
    assert not judged.accepted
    assert judged.loss == math.inf
    assert "no finite value" in judged.words


def test_what_cannot_be_proven_is_said_before_and_searched_by_the_measured_loss():
    told = Told()
    held = budget("0.5pt", 100, told=told)
    assert not held.provable
    (notice,) = told.notices
    assert "50 confirming samples cannot rule out a larger loss" in notice
    assert "evaluation samples" in notice
    assert held.accepts(net()).accepted, "the best is found all the same"
    assert not held.confirms(net()).accepted
    assert held.lacking("INT8", held.accepts(net())) is None, "it was said already"


def test_what_a_candidate_takes_to_prove_is_told_where_more_samples_would():
    held = budget("25pt")
    some = held.accepts(net(noise=0.09))
    said = held.lacking("INT8", some)
    assert said is not None
    assert said.startswith("to prove INT8 as it is takes ")
    assert "there are 200, so " in said
    assert held.lacking("INT8", held.accepts(net())) is None
    assert budget("25pt", accept="point").lacking("INT8", some) is None


def test_its_words_are_the_users():
    held = budget("5%", accept="point")
    assert held.asked == "5%"
    assert held.words == "evaluation data"
    assert held.parameters == {
        "budget": "5%",
        "accept": "point",
        "search samples": 200,
        "confirming samples": 200,
    }


def test_a_budget_that_holds_nothing_is_told_or_refused():
    assert any("holds nothing" in one for one in budget("100pt").notices)
    with pytest.raises(RecipeError, match="holds nothing"):
        budget("100%")
    mean = model("g (float[n,16] x) => (float y) { y = ReduceMean<keepdims = 0>(x) }")
    with pytest.raises(RecipeError, match="cannot be held: no metric fits the outputs") as error:
        budget("1%", labels=False, made=mean)
    assert "--metric" in (error.value.hint or "")


def test_outputs_beside_the_one_that_is_held_are_named():
    (said,) = budget("5%", made=net(second=True)).notices
    assert "holds output 'logits'; 'other' is measured beside it" in said


METRIC = """
def spread(outputs, labels):
    return float(outputs["logits"].std())
"""


@pytest.mark.parametrize(
    ("accept", "samples", "words", "provable"),
    [
        ("point", 400, "the measured value decides (--budget point), of 7 batches", True),
        ("bound", 400, "7 batches of 32 confirming samples give no bound", False),
        ("bound", 60, "one batch of 32 confirming samples give no bound", False),
    ],
)
def test_a_metric_without_a_value_per_sample_counts_batches(
    tmp_path: Path, accept: str, samples: int, words: str, provable: bool
):
    (tmp_path / "mine.py").write_text(METRIC)
    held = budget("1%", samples, metric=f"{tmp_path / 'mine.py'}:spread", accept=accept)
    assert held.provable == provable
    assert words in held.notices[-1]
    assert "has no value per sample" in held.notices[-1]


# What ships


def scored(right: int, of: int) -> Scores:
    """All right before, and so many after."""
    after = np.zeros((of, 1))
    after[:right] = 1
    return Scores({BASELINE: np.ones((of, 1)), RESULT: after}, "labels", of)


@pytest.fixture(scope="module")
def held() -> QualityBudget:
    return budget("5%")


@settings(max_examples=40)
@given(st.integers(0, 200))
def test_the_verdict_follows_the_bound_and_says_why(held: QualityBudget, right: int):
    found = held.confirmed(held.metric, scored(right, 200), is_float=False)
    assert found.point == pytest.approx(100 - right / 2)
    assert found.allowed == 5.0
    assert found.bound is not None
    assert found.bound > found.point or right == 0
    assert found.met == (found.bound <= 5.0)
    assert ("within" in found.reason) == found.met
    assert found.needed_n is None or (found.needed_n > 200 and found.point < 5)


def test_float_keeps_any_budget_without_proof(held: QualityBudget):
    found = held.confirmed(held.metric, scored(20, 200), is_float=True)
    assert found.met
    assert found.reason == "float ships, which computes what the original does"
    assert found.needed_n is None


def test_a_point_is_told_as_not_proven():
    held = budget("5%", accept="point")
    found = held.confirmed(held.metric, scored(192, 200), is_float=False)
    assert found.met
    assert found.reason.endswith("within the 5.00 points allowed; it was not proven")
    assert (found.accept, found.method) == ("point", METHODS["point"])


def test_the_best_of_an_interrupted_run_is_not_confirmed(held: QualityBudget):
    found = held.unconfirmed()
    assert (found.met, found.interrupted, found.bound) == (False, True, None)
    assert found.n == 200


# The samples that judge, divided


def divided(
    max_drop: str | None, calibration: int = 0, evaluation: int = 0
) -> tuple[DataSplit, QualityBudget | NoBudget, DataSplit]:
    """The data before, of so many samples, the acceptance, and the data after it was divided."""
    recipe = Recipe(
        measure=MeasureOptions(metric="cosine"), budget=BudgetOptions(max_drop=max_drop)
    )
    calib = {"x": X[:calibration]} if calibration else None
    judging = {"x": X[-evaluation:]} if evaluation else None
    session = session_of(net(), recipe, Clock(), calibration=calib, evaluation=judging)
    split = split_data(session.prepared, recipe.seed)
    prepared = looked_at(session.prepared, split, recipe, session.target, Told())
    after, acceptance = divided_for_budget(replace(session, prepared=prepared), split)
    return split, acceptance, after


def values(data: CalibrationSet | None) -> set[bytes]:
    """The samples, each as its bytes."""
    assert data is not None
    return {row.tobytes() for batch in data.batches(16) for row in batch.inputs["x"]}


@pytest.mark.parametrize(
    ("evaluation", "kind", "share"), [(40, "evaluation", 0.5), (0, "calibration", 0.1)]
)
def test_what_judges_is_halved_into_search_and_confirm(evaluation: int, kind: str, share: float):
    before, acceptance, after = divided("1%", 200, evaluation)
    assert isinstance(acceptance, QualityBudget)
    assert after.calibration is before.calibration
    assert values(after.search).isdisjoint(values(after.quality))
    assert values(after.search) | values(after.quality) == values(before.quality)
    halves = acceptance.halves
    assert (halves.search, halves.confirm) == (after.search, after.quality)
    assert (halves.kind, halves.share) == (kind, share)
    assert halves.words == before.words


def test_without_a_budget_the_data_stays_as_it_is():
    before, acceptance, after = divided(None, 40)
    assert isinstance(acceptance, NoBudget)
    assert after is before
    assert acceptance.samples is before.quality


def test_a_budget_needs_samples_for_both_halves():
    with pytest.raises(DataError, match="needs samples to judge on"):
        divided("1%")
    with pytest.raises(DataError, match="found one"):
        divided("1%", 20, 1)
    with pytest.raises(DataError, match="which is one of 5") as error:
        divided("1%", 5)
    assert "10 samples or more" in (error.value.hint or "")
    assert isinstance(divided("1%", 20, 2)[1], QualityBudget)


# Distances of distributions


def as_they_are(logits: np.ndarray) -> np.ndarray:
    return logits


def test_a_distance_is_confirmed_on_blocks_and_its_loss_is_what_the_floor_lacks():
    held = budget("50%", labels=False, metric="fid", features=as_they_are)
    assert held.provable
    near, far = held.confirms(net(noise=0.001)), held.confirms(net(noise=0.5))
    assert near.accepted
    assert not far.accepted
    assert near.judgement is not None
    assert near.judgement.n == 200
    assert near.judgement.allowed == pytest.approx(near.judgement.baseline / 2)


def test_a_distance_of_few_samples_is_refused_with_the_number_that_it_takes():
    held = budget("50%", samples=60, labels=False, metric="fid", features=as_they_are)
    assert not held.provable
    (notice,) = held.notices
    assert "That takes 40, so 80 evaluation samples" in notice
    found = held.confirms(net())
    assert not found.accepted
    assert found.judgement is not None
    assert found.judgement.needed == 40


def test_a_share_of_a_floor_that_falls_asks_for_points():
    held = budget("2%", labels=False, metric="fid", features=as_they_are)
    scores = held._scores(net(noise=0.05), held.halves.confirm)
    told = held.confirmed(held.metric, scores, is_float=False)
    assert not told.met
    assert told.needed_n is None
    assert "give it in the metric's unit" in told.reason


def test_a_score_that_is_better_when_higher_is_held_likewise():
    held = budget("5%", labels=False, metric="inception_score", features=as_they_are)
    assert held.confirms(net()).accepted
    halved = net()
    weight = halved.graph.initializers["w"]
    weight.const_value = ir.tensor(weight.const_value.numpy() / 2, name="w")
    assert not held.confirms(halved).accepted  # less sure of every class


def test_of_units_that_a_loop_makes_it_is_told_how_many_to_ask_for():
    held = budget("5%", 100)
    halves = replace(held.halves, kind="generated", share=1.0, noun="unit", flag="--units")
    found = QualityBudget.announced(held.session, Budget("0.5pt", 0.5, relative=False), halves)
    assert not found.provable
    (notice,) = found.notices
    assert "50 confirming units cannot rule out a larger loss" in notice
    least = least_samples(found.metric, 0.5)
    assert f"That takes {least:,}, so --units {least} (--budget point" in notice
