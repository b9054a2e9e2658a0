"""Folds of the samples that are searched on."""

import numpy as np
import pytest

from calibration.dataset import CalibrationSet, open_dataset
from compressor.errors import DataError, RecipeError
from compressor.search.recipes.folds import parse_validation, parts_of


def data(samples: int, classes: int = 2) -> CalibrationSet:
    labels = (np.arange(samples) < samples // 5).astype(np.int64) if classes else np.zeros(0)
    arrays = {"x": np.arange(samples, dtype=np.float32)[:, None]}
    if classes:
        arrays["label"] = labels
    return open_dataset(arrays)


def labels_of(part: CalibrationSet) -> list[int]:
    return sorted(part.classes.elements())  # type: ignore[attr-defined]


def test_folds_are_disjoint_and_cover_the_samples() -> None:
    parts = parts_of(data(50), parse_validation("kfold:5"), seed=3)
    seen = np.concatenate([part.head(50).inputs["x"].ravel() for part in parts])
    assert [len(part) for part in parts] == [10] * 5
    assert sorted(seen.tolist()) == list(range(50))


def test_stratified_folds_have_their_share_of_every_class() -> None:
    parts = parts_of(data(50), parse_validation("stratified-kfold:5"), seed=3)
    assert [labels_of(part) for part in parts] == [[0] * 8 + [1] * 2] * 5


def test_samples_at_once_have_a_first_look_where_there_are_enough() -> None:
    assert [len(one) for one in parts_of(data(200), parse_validation("holdout"), 0)] == [50, 150]
    assert [len(one) for one in parts_of(data(40), parse_validation("holdout"), 0)] == [40]


def test_what_cannot_be_divided_is_refused() -> None:
    with pytest.raises(RecipeError, match="expected holdout, kfold:K"):
        parse_validation("kfold:1")
    with pytest.raises(DataError, match="needs 10 samples to search on, found 8"):
        parts_of(data(8), parse_validation("kfold:5"), 0)
    with pytest.raises(DataError, match="needs labels that are classes"):
        parts_of(data(50, classes=0), parse_validation("stratified-kfold:5"), 0)
