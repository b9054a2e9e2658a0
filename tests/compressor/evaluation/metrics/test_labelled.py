"""An output `target` stands for labels of what a loop returns beside it."""

import numpy as np
import pytest
from tables import Table, data, values

from compressor.errors import DataError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.roles import Roles
from compressor.evaluation.yardstick import choose

RNG = np.random.default_rng(0)
LOGITS = RNG.standard_normal((12, 5, 7)).astype(np.float32)
TOKENS = RNG.integers(1, 7, (12, 5))
IMAGES = RNG.random((12, 1, 12, 12)).astype(np.float32)
NEAR = (IMAGES + 0.1 * RNG.standard_normal(IMAGES.shape)).astype(np.float32)
SCORES = RNG.standard_normal((12, 7)).astype(np.float32)
CLASSES = RNG.integers(7, size=12)


def judged(metric: str, table: Table) -> tuple[str | None, float, str]:
    """The output that decides, the value of a table on itself, and what it is scored against."""
    found = choose(table, data(12), 5, roles=Roles(), metric=find_metric(metric))
    scores = found.scores(found.metrics[0], {BASELINE: table, RESULT: table}, data(12), 5)
    value = float(found.metrics[0].aggregate(scores.units[RESULT]))
    return found.primary, value, scores.reference


@pytest.mark.parametrize(
    ("metric", "answer", "target"),
    [
        ("perplexity", LOGITS, TOKENS),
        ("psnr", NEAR, IMAGES),
        ("mse", NEAR, IMAGES),
        ("r2", NEAR, IMAGES),
        ("ssim", NEAR, IMAGES),
        ("accuracy", SCORES, CLASSES),
        ("f1", SCORES, CLASSES),
        ("exact_match", TOKENS, TOKENS[::-1]),
    ],
)
def test_a_target_is_what_labels_are(metric: str, answer: np.ndarray, target: np.ndarray):
    expected, _ = values(metric, answer, answer, target)
    found = judged(metric, Table(target=target, answer=answer))
    assert found == ("answer", pytest.approx(expected), "labels")


def test_what_compares_with_the_original_leaves_it_alone():
    assert judged("cosine", Table(target=IMAGES, answer=NEAR)) == (
        "answer",
        pytest.approx(1),
        "original",
    )


def test_tokens_are_taken_beside_their_logits():
    table = Table(logits=LOGITS, tokens=TOKENS)
    assert judged("exact_match", table)[0] == "tokens"
    assert judged("kl", table)[0] == "logits"


def test_without_labels_the_way_to_give_some_is_told():
    with pytest.raises(DataError, match="needs labels") as told:
        judged("accuracy", Table(answer=SCORES))
    assert "target" in str(told.value.hint)
