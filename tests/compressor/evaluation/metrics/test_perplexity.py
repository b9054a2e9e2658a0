"""Perplexity of token labels, and what it refuses."""

import numpy as np
import pytest
from scipy.special import log_softmax

from calibration.dataset import open_dataset
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.quality import summarized
from compressor.graph.tensors import TensorSpec

RNG = np.random.default_rng(0)
SAMPLES, LENGTH, VOCABULARY = 12, 5, 7
LOGITS = RNG.standard_normal((SAMPLES, LENGTH, VOCABULARY)).astype(np.float32) * 3
LABELS = RNG.integers(0, VOCABULARY, (SAMPLES, LENGTH))


class Table:
    """A model that looks its logits up: input i is the number of the sample."""

    inputs = (TensorSpec("i", np.dtype(np.int64), ("n",)),)

    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits
        self.outputs = (TensorSpec("logits", logits.dtype, ("n", *logits.shape[1:])),)

    def run(self, feeds):
        return {"logits": self.logits[feeds["i"]]}


def data(labels: np.ndarray):
    return open_dataset({"i": np.arange(len(labels)), "label": labels}).bind(Table.inputs)


def scored(logits: np.ndarray, labels: np.ndarray, batch: int = 5):
    metric = find_metric("perplexity")
    runners = {"baseline": Table(LOGITS), "result": Table(logits)}
    return metric, metric.evaluate(runners, data(labels), batch)


def expected(logits: np.ndarray, labels: np.ndarray) -> float:
    chances = log_softmax(logits.astype(np.float64), axis=-1)
    counted = labels >= 0
    own = np.take_along_axis(chances, np.maximum(labels, 0)[..., None], -1)[..., 0]
    return float(np.exp(-own[counted].mean()))


def test_it_is_the_exponential_of_the_mean_cross_entropy_over_tokens():
    labels = LABELS.copy()
    labels[:, 0] = -100
    labels[3, 2:] = -1
    metric, scores = scored(LOGITS, labels)
    found = metric.aggregate(scores.units["result"])
    assert found == pytest.approx(expected(LOGITS, labels), rel=1e-9)
    assert scores.reference == "labels"
    assert not metric.higher_is_better


def test_logits_of_any_size_overflow_nothing_and_nan_stays_nan():
    metric, scores = scored(LOGITS + 1e4, LABELS)
    assert metric.aggregate(scores.units["result"]) == pytest.approx(
        expected(LOGITS, LABELS), rel=1e-2
    )
    broken = LOGITS.copy()
    broken[2, 1, 0] = np.nan
    assert np.isnan(metric.aggregate(scored(broken, LABELS)[1].units["result"]))


def test_resamples_go_by_sequence():
    metric, scores = scored(LOGITS, LABELS)
    index = np.random.default_rng(1).integers(0, SAMPLES, (20, SAMPLES))
    resampled = metric.aggregate(scores.units["result"][index])
    assert resampled.shape == (20,)
    assert resampled[0] == pytest.approx(expected(LOGITS[index[0]], LABELS[index[0]]))


def test_a_paired_interval_of_a_worse_model_leaves_out_zero():
    near = LOGITS.copy()
    np.put_along_axis(near, LABELS[..., None], 4.0, axis=-1)
    metric = find_metric("perplexity")
    scores = metric.evaluate({BASELINE: Table(near), RESULT: Table(LOGITS)}, data(LABELS), 4)
    result = summarized(metric, scores, data_words="test data", seed=0)
    assert result.interval is not None
    assert result.interval.low > 0


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (LABELS[:, :2], "token number at every position"),
        (LABELS.astype(np.float32), "token number at every position"),
        (LABELS + 5, "expected tokens 0 to 6"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, why: str):
    with pytest.raises(DataError, match=why):
        scored(LOGITS, labels)


def test_outputs_that_are_no_sequences_are_refused():
    runners = {"baseline": Table(LOGITS[:, 0])}
    with pytest.raises(UsageError, match=r"\[samples, positions, vocabulary\]"):
        find_metric("perplexity").evaluate(runners, data(LABELS), 4)


def test_without_labels_it_says_what_is_missing():
    bare = open_dataset({"i": np.arange(SAMPLES)}).bind(Table.inputs)
    with pytest.raises(DataError, match="needs labels"):
        find_metric("perplexity").evaluate({"baseline": Table(LOGITS)}, bare, 4)
