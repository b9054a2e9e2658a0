"""Average precision against scikit-learn and against what follows from the definition."""

import numpy as np
import pytest
from tables import Table, paired, values

from compressor.errors import DataError
from compressor.evaluation.average_precision import RECALLS, Matches


def boxes(n: int, count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.random((n, count, 2)) * 80
    return np.concatenate([low, low + 10 + rng.random((n, count, 2)) * 10], axis=2).astype(
        np.float32
    )


def detector(found: np.ndarray, scores: np.ndarray, classes: np.ndarray) -> Table:
    return Table(boxes=found, scores=scores.astype(np.float32), labels=classes.astype(np.int64))


def truth(found: np.ndarray, classes: np.ndarray) -> np.ndarray:
    return np.concatenate([found, classes[..., None]], axis=2).astype(np.float32)


def example(seed: int = 0, n: int = 30, count: int = 6):
    rng = np.random.default_rng(seed)
    found = boxes(n, count, seed)
    return found, rng.random((n, count)), rng.integers(3, size=(n, count))


def slow_precision(score: np.ndarray, right: np.ndarray, total: int) -> float:
    """At every recall the largest precision from there on, one by one."""
    order = np.argsort(-score)
    hits = np.cumsum(right[order])
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    largest = [precision[recall >= asked - 1e-12].max(initial=0) for asked in RECALLS]
    return float(np.mean(largest))


@pytest.mark.parametrize("seed", range(3))
def test_precision_is_the_mean_at_101_recalls(seed: int):
    rng = np.random.default_rng(seed)
    score, right = rng.random(50), rng.random(50) < 0.6
    sample = rng.integers(10, size=50)
    there = np.full(10, 5.0)
    found = Matches(sample, score, right[:, None], there)
    assert found.precision(np.ones(10, dtype=bool)) == pytest.approx(
        slow_precision(score, right, 50)
    )
    kept = np.arange(10) < 7
    few = kept[sample]
    assert found.precision(kept) == pytest.approx(slow_precision(score[few], right[few], 35))


@pytest.mark.parametrize("metric", ["map", "map50"])
def test_what_finds_everything_has_it_all(metric: str):
    found, scores, classes = example()
    same = detector(found, scores, classes)
    assert values(metric, same, same, truth(found, classes)) == pytest.approx((100, 100))
    assert values(metric, same, same) == pytest.approx((100, 100))


def test_boxes_that_overlap_by_two_thirds_count_at_four_of_ten_thresholds():
    found, scores, classes = example()
    sizes = found[..., 2:3] - found[..., :1]
    moved = found + 0.2 * sizes * np.array([1, 0, 1, 0], np.float32)  # 0.8 / 1.2 of the union
    before, after = detector(found, scores, classes), detector(moved, scores, classes)
    far = np.arange(6)[:, None] * np.array([200] * 4, np.float32)  # none touches another
    spread = truth(found + far, classes)
    before, after = (detector(one.table["boxes"] + far, scores, classes) for one in (before, after))
    assert values("map", before, after, spread) == pytest.approx((100, 40))
    assert values("map50", before, after, spread) == pytest.approx((100, 100))


def test_a_class_that_is_lost_counts_as_a_class():
    found, scores, classes = example()
    found = found + np.arange(6)[:, None] * np.array([200] * 4, np.float32)
    other = np.where(classes == 2, 7, classes)
    result = values("map50", detector(found, scores, classes), detector(found, scores, other))[1]
    assert result == pytest.approx(200 / 3)


def test_rows_of_no_class_fill_up():
    found, scores, classes = example()
    labels = truth(found, classes)
    labels[:, 4:, 4] = -1
    some = detector(found[:, :4], scores[:, :4], classes[:, :4])
    assert paired("map", some, some, labels).reference == "labels"
    assert values("map", some, some, labels)[0] == pytest.approx(100)


def test_labels_of_another_form_are_refused():
    found, scores, classes = example()
    same = detector(found, scores, classes)
    with pytest.raises(DataError, match=r"expected boxes of shape \[samples, boxes, 5\]"):
        paired("map", same, same, found)
