"""Metrics of language against sacrebleu, scipy and closed forms."""

import numpy as np
import pytest
import sacrebleu
from scipy.special import rel_entr, softmax
from tables import Table, paired, values

from compressor.errors import UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import RESULT

TEXTS = (
    "The cat sat on the mat, and looked at the dog.",
    "It rains; nobody minds the rain (much) in April.",
    "A short one!",
    "Numbers like 3.14 and 2,718 are kept together here.",
)
OTHERS = (
    "The cat sat on a mat and looked at the dog.",
    "It rains; nobody minds rain in April at all.",
    "A short one!",
    "Numbers like 3.14 or 2.718 are held together there.",
)


def logits(seed: int, shape: tuple[int, ...] = (5, 4, 9)) -> np.ndarray:
    return 3 * np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_kl_is_that_of_scipy():
    before, after = logits(0), logits(1)
    p, q = (softmax(x.astype(float), axis=-1) for x in (before, after))
    baseline, result = values("kl", before, after)
    assert baseline == 0
    assert result == pytest.approx(rel_entr(p, q).sum(axis=-1).mean(), rel=1e-9)


def test_kl_leaves_out_what_is_padded():
    before, after, labels = logits(0), logits(0), np.zeros((5, 4), np.int64)
    after[:, 2:] += logits(1)[:, 2:]
    labels[:, 2:] = -100
    assert values("kl", before, after, labels)[1] == pytest.approx(0, abs=1e-12)


def test_kl_leaves_out_what_a_loop_fills_up_with_zeros():
    before, after = logits(0), logits(1)
    full = values("kl", before[:, :2], after[:, :2])[1]
    before[:, 2:] = after[:, 2:] = 0
    assert values("kl", before, after)[1] == pytest.approx(full)


def test_kl_of_what_the_original_rules_out_is_that_of_the_rest():
    before, after = logits(0), logits(1)
    before[..., 0] = after[..., 0] = -np.inf
    p, q = (softmax(x[..., 1:].astype(float), axis=-1) for x in (before, after))
    assert values("kl", before, after)[1] == pytest.approx(rel_entr(p, q).sum(axis=-1).mean())


def test_logits_of_other_positions_are_refused():
    with pytest.raises(
        UsageError, match=r"expected logits of shape \[2, 4, 9\].*found \[2, 3, 9\]"
    ):
        paired("kl", logits(0), logits(0, (5, 3, 9)))


def test_top5_agreement_counts_choices_among_five():
    before, after = logits(0, (40, 3, 20)), logits(1, (40, 3, 20)) + logits(0, (40, 3, 20))
    order = np.argsort(-after, axis=-1)[..., :5]
    expected = (order == before.argmax(-1)[..., None]).any(-1).mean()
    assert values("top5_agreement", before, after) == pytest.approx((100, 100 * expected))


def test_top5_agreement_of_five_is_refused():
    with pytest.raises(UsageError, match="expected more than five choices, the model has 5"):
        paired("top5_agreement", logits(0, (4, 5)), logits(0, (4, 5)))


@pytest.mark.parametrize(
    ("metric", "expected"), [("bleu", sacrebleu.corpus_bleu), ("chrf", sacrebleu.corpus_chrf)]
)
def test_texts_are_scored_as_by_sacrebleu(metric: str, expected):
    found = values(metric, np.array(TEXTS), np.array(OTHERS))
    assert found == pytest.approx((100, expected(list(OTHERS), [list(TEXTS)]).score), rel=1e-9)


def tokens(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = np.random.default_rng(0).integers(1, 30, (6, 16))
    changed = rng.random(found.shape) < 0.2 * seed
    found[changed] = rng.integers(1, 30, changed.sum())
    found[2, 9:] = 0  # ends early
    return found


def words(rows: np.ndarray) -> list[str]:
    return [" ".join(f"w{token}" for token in row if token) for row in rows]


def characters(rows: np.ndarray) -> list[str]:
    return ["".join(chr(0x4E00 + token) for token in row if token) for row in rows]


def test_tokens_are_words_of_bleu_and_characters_of_chrf():
    before, after = tokens(0), tokens(1)
    bleu = sacrebleu.corpus_bleu(words(after), [words(before)], tokenize="none", force=True)
    chrf = sacrebleu.corpus_chrf(characters(after), [characters(before)])
    assert values("bleu", before, after)[1] == pytest.approx(bleu.score, rel=1e-9)
    assert values("chrf", before, after)[1] == pytest.approx(chrf.score, rel=1e-9)


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_resamples_are_scored_as_sacrebleu_scores_them(metric: str):
    before, after = tokens(0), tokens(4)
    found = find_metric(metric)
    units = paired(metric, before, after).units[RESULT]
    picked = np.random.default_rng(0).integers(6, size=(20, 6))
    for rows, score in zip(picked, found.aggregate(units[picked]), strict=True):
        if metric == "bleu":
            given = words(after[rows]), [words(before[rows])]
            expected = sacrebleu.corpus_bleu(*given, tokenize="none", force=True).score
        else:
            given = characters(after[rows]), [characters(before[rows])]
            expected = sacrebleu.corpus_chrf(*given).score
        assert score == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_nothing_in_common_is_nothing(metric: str):
    assert values(metric, np.full((3, 8), 1), np.full((3, 8), 2))[1] == 0


def test_references_may_be_labels():
    before, after = tokens(0), tokens(1)
    scores = paired("bleu", before, after, labels=after)
    assert scores.reference == "labels"
    assert values("bleu", before, after, labels=after)[1] == pytest.approx(100)


def test_exact_match_is_the_share_before_the_first_difference():
    before = np.array([[5, 6, 7, 8], [5, 6, 7, 8], [5, 6, 0, 0], [1, 2, 3, 4]])
    after = np.array([[5, 6, 7, 8], [5, 6, 9, 8], [5, 6, 7, 0], [9, 2, 3, 4]])
    units = paired("exact_match", before, after).units[RESULT]
    np.testing.assert_allclose(units[:, 0], [1, 1 / 2, 2 / 3, 0])
    assert values("exact_match", before, after)[0] == 100


def test_exact_match_of_texts_counts_characters():
    assert values("exact_match", np.array(["abcd"] * 2), np.array(["abxd", "abcd"]))[1] == 75


def test_logits_are_no_sequences():
    with pytest.raises(UsageError, match="expected tokens, integers of shape") as caught:
        paired("bleu", Table(y=logits(0)), Table(y=logits(0)))
    assert "kl" in str(caught.value.hint)
