"""Keys of decisions: what decides is in them, and what cannot be told keeps nothing."""

from pathlib import Path

import pytest
from kept_sessions import session

from compressor.evaluation.metrics.accuracy import METRIC as ACCURACY
from compressor.evaluation.metrics.cosine import METRIC as COSINE
from compressor.evaluation.metrics.fid import METRIC as FID
from compressor.recipe.recipe import Recipe
from compressor.search.keys import cache_of_session, metric_key, recipe_key


def key(**sections: object) -> str | None:
    return recipe_key(Recipe.model_validate(sections))


def test_what_decides_is_told_and_where_things_lie_is_not(tmp_path: Path):
    assert key() == key(output=tmp_path, data={"calib": "a.npz", "cache": tmp_path})
    assert key() == key(model={"factory": "net.py:build"}, package="triton")
    changed = [
        key(seed=1),
        key(budget={"max_drop": "1%"}),
        key(quantize={"ranges": "mse"}),
        key(data={"preprocess": {"scale": 0.5}}),
        key(measure={"threads": 2}),
        key(prune={"macs": "30%"}),
    ]
    assert len({key(), *changed}) == 7


@pytest.mark.parametrize(
    "sections",
    [
        {"measure": {"metric": "mine.py:metric"}},
        {"measure": {"features": "features.onnx"}},
        {"train": {"length": "5steps", "loss": "mine.py:loss"}},
    ],
)
def test_code_of_the_users_keeps_nothing(sections: dict[str, object]):
    assert key(**sections) is None


def test_metrics_are_told_by_their_class_and_what_they_hold():
    assert metric_key(ACCURACY) != metric_key(COSINE)
    assert metric_key(FID) is None, "it needs features"


def test_only_the_machines_own_clock_is_kept_by(tmp_path: Path):
    assert cache_of_session(session(tmp_path)).keeps
    assert not cache_of_session(session(tmp_path, timer=object())).keeps
    assert not cache_of_session(session(None)).keeps
