"""Growing effort: what is stopped, and what figures of folds say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import residual
from makers import maker_of

from compressor.evaluation.memory import PeakMemory
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import Scores
from compressor.results.front import Found
from compressor.search.acceptance import GraphJudge
from compressor.search.recipes.evaluating import (
    BUDGET,
    Evaluator,
    UnmakeableError,
    Yardsticks,
    joined_scores,
)
from compressor.search.recipes.folds import Validation, parts_of
from compressor.search.recipes.limits import parse_limits

COSINE = find_metric("cosine")


@pytest.fixture(scope="module")
def evaluator() -> Evaluator:
    maker = maker_of(residual())
    samples = maker.shared.judging
    held = Yardsticks(COSINE, 1.0, ("quality", "size"), allowed=0.5)
    judge = GraphJudge(maker.shared.session)
    return Evaluator(maker, judge, held, samples, (samples,), Validation())


def test_a_trial_has_all_objectives_and_its_interval(evaluator: Evaluator) -> None:
    outline, key = evaluator.outlined({"rounding": "nearest"})
    found, made = evaluator.evaluated(outline, key, [])
    assert made is not None
    assert found.key == key
    assert found.quality is not None
    assert found.samples == len(evaluator.samples)
    values, violated = evaluator.held.scored(found)
    assert values == (found.loss, found.file_bytes)
    assert violated[BUDGET] < 0


def test_peak_memory_is_measured_where_it_is_an_objective(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peak(model: Path, *_: object, **__: object) -> PeakMemory:
        assert model.exists()
        return PeakMemory(70_000_000)

    monkeypatch.setattr("compressor.search.recipes.evaluating.peak_memory", peak)
    asked = replace(evaluator, held=replace(evaluator.held, objectives=("quality", "memory")))
    outline, key = asked.outlined({"rounding": "nearest"})
    found, _ = asked.evaluated(outline, key, [])
    assert found.memory_bytes == 70_000_000
    assert found.file_bytes is not None


def test_folds_are_judged_one_by_one(evaluator: Evaluator) -> None:
    how = Validation(folds=2)
    folded = replace(evaluator, validation=how, parts=parts_of(evaluator.samples, how, 0))
    outline, key = evaluator.outlined({"rounding": "nearest"})
    found, _ = folded.evaluated(outline, key, [])
    assert found.loss is not None
    assert found.loss_interval is not None
    assert found.loss_interval.low <= found.loss <= found.loss_interval.high


def test_a_limit_on_size_stops_before_the_samples(evaluator: Evaluator) -> None:
    (limit,) = parse_limits("size<=1kB", "--limit")
    strict = replace(evaluator, held=replace(evaluator.held, limits={limit: 1000.0}))
    outline, key = evaluator.outlined({"rounding": "nearest"})
    found, _ = strict.evaluated(outline, key, [])
    assert found.stopped is not None
    assert "above size<=1kB" in found.stopped
    assert found.loss is None
    values, violated = strict.held.scored(found)
    assert values is None
    assert violated["size<=1kB"] > 0


def test_what_another_beats_for_certain_after_some_samples_is_stopped(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = evaluator.samples.split(0.5, 0)
    looks = replace(evaluator, parts=half)
    monkeypatch.setattr(looks, "_least_loss", lambda scores: 0.3)
    outline, key = evaluator.outlined({"rounding": "nearest"})
    found, _ = looks.evaluated(outline, key, [(0.1, 1.0)])
    assert found.stopped is not None
    assert "another trial beats it for certain" in found.stopped
    assert found.samples == len(half[0])
    monkeypatch.setattr(looks, "_least_loss", lambda scores: 0.6)
    found, _ = looks.evaluated(outline, key, [])
    assert "above the budget for certain" in str(found.stopped)


def test_a_bound_decides_where_it_is_asked_for() -> None:
    held = Yardsticks(COSINE, 1.0, ("quality",), allowed=0.1, by_bound=True)
    found = Found(loss=0.05, loss_bound=0.2)
    assert held.scored(found)[1][BUDGET] == pytest.approx(1.0)
    assert replace(held, by_bound=False).scored(found)[1][BUDGET] == pytest.approx(-0.5)


def test_what_cannot_be_made_is_told(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(outline: object) -> None:
        from compressor.errors import PruningError

        raise PruningError("it cannot be cut")

    monkeypatch.setattr(evaluator.maker, "made", refuse)
    outline, key = evaluator.outlined({"bias": "corrected"})
    with pytest.raises(UnmakeableError, match="it cannot be cut"):
        evaluator.evaluated(outline, key, [])


def test_scores_of_parts_are_those_of_all_but_for_batches() -> None:
    one = Scores({"baseline": np.ones((3, 1))}, "labels", 3)
    joined = joined_scores([one, one])
    assert joined is not None
    assert joined.units["baseline"].shape == (6, 1)
    assert joined.samples == 6
    assert joined_scores([replace(one, blocks=True)]) is None
