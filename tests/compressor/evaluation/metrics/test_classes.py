import numpy as np
import pytest
from sklearn.metrics import precision_score, recall_score
from tables import values


@pytest.mark.parametrize(
    ("metric", "expected"), [("precision", precision_score), ("recall", recall_score)]
)
@pytest.mark.parametrize("seed", range(4))
def test_macro_means_are_those_of_scikit_learn(metric: str, expected, seed: int):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((40, 6)).astype(np.float32)
    labels = rng.integers(3 + seed, size=40)
    truth = expected(labels, scores.argmax(axis=1), average="macro", zero_division=0)
    assert values(metric, scores, scores, labels) == pytest.approx((truth, truth))
