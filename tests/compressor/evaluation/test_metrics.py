import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, top_k_accuracy_score

from calibration.dataset import open_dataset
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics import find_metric, metric_names
from compressor.evaluation.metrics.base import BASELINE, RESULT, Metric
from compressor.evaluation.outputs import require_alike
from compressor.evaluation.quality import summarized
from compressor.graph.tensors import TensorSpec

FLOAT = np.dtype(np.float32)


class Table:
    """A model that looks its answers up: input i is the number of the sample."""

    def __init__(self, batch=None, **outputs):
        self.table = outputs
        self.inputs = (TensorSpec("i", np.dtype(np.int64), (batch or "n",)),)
        self.outputs = tuple(
            TensorSpec(name, a.dtype, ("n", *a.shape[1:])) for name, a in outputs.items()
        )
        self.batch = batch
        self.sizes: list[int] = []

    def run(self, feeds):
        index = feeds["i"]
        self.sizes.append(len(index))
        assert self.batch in (None, len(index))
        return {name: array[index] for name, array in self.table.items()}


def data(n, labels=None):
    arrays = {"i": np.arange(n)}
    return open_dataset(arrays if labels is None else {**arrays, "label": labels})


def quality(metric, before, after, labels=None, batch=7):
    """Compare two tables of scores with a metric, in batches that do not divide the samples."""
    first, second = (a if isinstance(a, Table) else Table(y=a) for a in (before, after))
    if isinstance(metric, str):
        metric = find_metric(metric)
    n = len(next(iter(first.table.values())))
    require_alike([first.outputs, second.outputs], metric.name)
    scores = metric.evaluate({BASELINE: first, RESULT: second}, data(n, labels), batch)
    return summarized(metric, scores, data_words="test data", seed=0)


def scores(n=50, classes=10, seed=0):
    return np.random.default_rng(seed).standard_normal((n, classes)).astype(np.float32)


def classes(n=50, count=10, seed=1):
    return np.random.default_rng(seed).integers(count, size=n)


# Finding


def test_every_file_is_a_metric_of_its_name():
    assert set(metric_names()) >= {
        *("accuracy", "agreement", "cosine", "f1", "mse", "psnr", "sqnr", "top5")
    }
    for name in metric_names():
        metric = find_metric(name)
        assert isinstance(metric, Metric)
        assert metric.name == name


def test_unknown_names_are_answered_with_the_known():
    with pytest.raises(UsageError, match="unknown metric 'acuracy'") as caught:
        find_metric("acuracy")
    assert "accuracy, agreement" in str(caught.value)


# Classification


def test_accuracy():
    before, labels = scores(), classes()
    after = before.copy()
    wrong = np.flatnonzero(before.argmax(1) != labels)[:3]
    after[wrong, labels[wrong]] = 100
    result = quality("accuracy", before, after, labels)
    share = 100 * np.mean(before.argmax(1) == labels)
    assert result.baseline == pytest.approx(share)
    assert result.difference == pytest.approx(100 * 3 / 50)
    assert result.reference == "labels"
    assert result.samples == 50
    assert result.unit == "%"
    assert result.interval is not None
    assert result.difference in result.interval
    assert 0 in result.interval  # three of fifty are not significant


def test_accuracy_of_equals_has_an_interval_with_width():
    before, labels = scores(), classes()
    result = quality("accuracy", before, before, labels)
    assert result.difference == 0
    assert result.interval is not None
    assert result.interval.low < -1
    assert result.interval.high > 1


def test_top5_is_that_of_scikit_learn():
    before, labels = scores(), classes()
    result = quality("top5", before, before, labels)
    expected = top_k_accuracy_score(labels, before, k=5, labels=np.arange(10))
    assert result.baseline == pytest.approx(100 * expected)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 60))
def test_f1_is_that_of_scikit_learn(seed, count, n):
    before, labels = scores(n, count, seed), classes(n, count, seed)
    metric = find_metric("f1")
    units = metric.units(before.astype(float), labels)
    expected = f1_score(labels, before.argmax(1), average="macro", zero_division=0)
    assert metric.aggregate(units) == pytest.approx(expected, abs=1e-12)
    resamples = np.random.default_rng(seed).integers(n, size=(3, n))
    one_by_one = [float(metric.aggregate(units[rows])) for rows in resamples]
    assert metric.aggregate(units[resamples]) == pytest.approx(one_by_one)


def test_ties_go_to_the_smaller_class_and_nan_is_no_answer():
    tied = np.zeros((4, 6), np.float32)
    tied[3, 0] = np.nan
    assert quality("accuracy", tied, tied, np.array([0, 0, 1, 0])).result == 50.0
    assert quality("top5", tied, tied, np.array([4, 5, 0, 0])).result == 50.0
    assert quality("f1", tied, tied, np.zeros(4, int)).result == pytest.approx(2 * 3 / 7)


def test_scores_are_the_output_called_logits():
    right, labels = np.eye(10, dtype=np.float32), np.arange(10)
    table = Table(features=scores(10, 10), logits=right, count=np.zeros((10, 2), np.int64))
    assert quality("accuracy", table, table, labels).result == 100.0


def test_pooled_maps_of_one_pixel_are_scores():
    right = np.eye(10, dtype=np.float32)[:, :, None, None]
    assert quality("accuracy", right, right, np.arange(10)).result == 100.0


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "needs labels"),
        (np.arange(10) + 1, "expected classes 0 to 9, as the model has 10, found 10 at sample 9"),
        (np.arange(10) - 1, "found -1 at sample 0"),
        (np.arange(10.0) + 0.5, "expected class numbers of an integer dtype, found float64"),
        (np.eye(10, dtype=int), r"shape \[7\], found shape \[7, 10\]"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    y = np.eye(10, dtype=np.float32)
    with pytest.raises(DataError, match=message):
        quality("accuracy", y, y, labels)


def test_missing_labels_name_the_flag():
    with pytest.raises(DataError, match="--eval"):
        quality("f1", scores(), scores())


@pytest.mark.parametrize("shape", [(10,), (10, 1), (10, 3, 4)])
def test_outputs_that_are_no_scores(shape):
    y = np.zeros(shape, np.float32)
    with pytest.raises(UsageError, match=r"expected scores of shape \[samples, classes\]"):
        quality("accuracy", y, y, np.zeros(10, int))


def test_top5_of_five_classes_says_nothing():
    with pytest.raises(UsageError, match="more than five classes"):
        quality("top5", scores(classes=5), scores(classes=5), classes(count=5))


# Fidelity


def test_mse_against_the_original():
    before = scores()
    result = quality("mse", before, before + 2)
    assert (result.baseline, result.reference) == (0, "original")
    assert result.result == pytest.approx(4, rel=1e-6)
    assert not result.higher_is_better


def test_mse_against_targets():
    targets = scores(seed=3)
    result = quality("mse", targets + 1, targets + 2, targets)
    assert result.reference == "labels"
    assert (result.baseline, result.result) == (pytest.approx(1), pytest.approx(4))
    assert result.interval is not None
    assert result.interval.low == pytest.approx(3, abs=1e-4)


def test_targets_of_one_number_fit_an_output_of_one_column():
    targets = np.arange(20)
    y = targets[:, None].astype(np.float32)
    assert quality("mse", y, y + 3, targets).result == pytest.approx(9)


def test_class_numbers_are_no_targets():
    assert quality("mse", scores(), scores(), classes()).reference == "original"


def test_targets_of_another_shape():
    with pytest.raises(DataError, match=r"shape of output 'y', \[7, 10\], found \[7, 3\]"):
        quality("psnr", scores(), scores(), scores(classes=3))


def test_psnr():
    targets = np.linspace(0, 255, 50, dtype=np.float32)[:, None]
    result = quality("psnr", targets + 1, targets + 2, targets)
    assert result.baseline == pytest.approx(20 * np.log10(255), abs=1e-4)
    assert result.difference == pytest.approx(-20 * np.log10(2), abs=1e-4)
    assert result.unit == "dB"


def test_cosine_of_all_outputs_together():
    first = Table(a=np.array([[3.0, 0.0], [0.0, 0.0]]), b=np.array([[4.0], [0.0]]))
    second = Table(a=np.array([[3.0, 0.0], [0.0, 0.0]]), b=np.array([[0.0], [0.0]]))
    result = quality("cosine", first, second)
    assert result.baseline == 1
    assert result.result == pytest.approx((3 / 5 + 1) / 2)


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-20, 1e20), st.integers(0, 1000))
def test_cosine_does_not_depend_on_scale(factor, seed):
    before = scores(6, seed=seed).astype(np.float64)
    assert quality("cosine", before, before * factor).result == pytest.approx(1)


def test_sqnr_adds_up_over_samples():
    before = scores()
    result = quality("sqnr", before, before * np.float32(1.01))
    assert result.result == pytest.approx(40, abs=1e-3)
    assert result.baseline is None
    assert result.difference is None
    assert result.reason is not None
    assert "original against itself" in result.reason


def test_sqnr_of_equals_is_infinite_with_a_reason():
    result = quality("sqnr", scores(), scores())
    assert result.result is None
    assert result.reason == "the outputs are identical: sqnr is infinite"


def test_the_same_mask_is_no_difference_but_a_new_nan_is():
    before = scores()
    before[:, 3] = -np.inf
    assert quality("mse", before, before).result == 0
    after = before.copy()
    after[5, 5] = np.nan
    result = quality("cosine", before, after)
    assert result.result is None
    assert result.interval is None
    assert result.reason is not None
    assert "result is not a number" in result.reason


def test_outputs_may_be_called_differently():
    y = scores()
    assert quality("cosine", Table(y=y), Table(z=y)).result == pytest.approx(1)


def test_outputs_that_do_not_correspond():
    with pytest.raises(UsageError, match="do not correspond"):
        quality("cosine", scores(), scores(classes=9))


def test_large_rows_are_summed_in_pieces():
    before = np.random.default_rng(0).standard_normal((3, 2**20 + 1)).astype(np.float32)
    noise = np.float32(0.1)
    assert quality("mse", before, before + noise).result == pytest.approx(0.01, rel=1e-4)


# Agreement


def test_agreement():
    before = scores()
    after = before.copy()
    after[:5] *= -1
    result = quality("agreement", before, after)
    assert (result.baseline, result.result) == (100, 90)
    assert result.interval is not None
    assert result.interval.high < 0


def test_agreement_counts_positions_in_sequences():
    before = np.random.default_rng(0).standard_normal((20, 4, 8))
    after = before.copy()
    after[:, 0] *= -1
    result = quality("agreement", before, after)
    assert result.result == 75
    assert result.interval is not None
    assert result.interval.low == result.interval.high == -25


def test_agreement_needs_a_choice():
    with pytest.raises(UsageError, match="at least two values to choose from"):
        quality("agreement", scores(classes=1), scores(classes=1))


# Feeding


def test_a_model_with_its_batch_baked_in_sees_whole_batches():
    y, labels = scores(), classes()
    fixed = Table(batch=8, y=y)
    result = quality("accuracy", Table(y=y), fixed, labels, batch=21)
    assert result.baseline == result.result
    assert result.samples == 50
    assert set(fixed.sizes) == {8}


# The user's own


def write(tmp_path, body):
    path = tmp_path / "mine.py"
    path.write_text(f"import numpy as np\n{body}")
    return find_metric(f"{path}:score")


def test_a_function_that_scores_samples(tmp_path):
    metric = write(
        tmp_path,
        "def score(outputs, labels):\n    return np.abs(outputs['y'][:, 0] - labels)\n"
        "score.higher_is_better = False\nscore.unit = 'm'\n",
    )
    targets = np.arange(30.0)
    result = quality(metric, targets[:, None] + 1, targets[:, None] + 3, targets)
    assert (result.baseline, result.result, result.difference) == (1, 3, 2)
    assert (result.unit, result.higher_is_better, result.samples) == ("m", False, 30)
    assert result.interval is not None
    assert result.metric.endswith("mine.py:score")


def test_a_function_that_scores_batches_is_weighted_by_their_samples(tmp_path):
    metric = write(tmp_path, "def score(outputs, labels):\n    return outputs['y'].mean()\n")
    y = np.arange(10.0)[:, None]
    result = quality(metric, y, 2 * y, batch=7)
    assert (result.baseline, result.result) == (pytest.approx(4.5), pytest.approx(9))
    assert result.samples == 10


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def score(outputs, labels):\n    return labels + 1\n", "mine.py:3: TypeError"),
        (
            "def score(outputs, labels):\n    return np.zeros(3)\n",
            r"expected 7 scores.*shape \[3\]",
        ),
        ("def score(outputs, labels):\n    return 'good'\n", "expected 7 scores.*'good'"),
        ("score = 3\n", "expected a function of .outputs, labels., found int"),
    ],
)
def test_functions_that_do_not_work(tmp_path, body, message):
    with pytest.raises(UsageError, match=message):
        quality(write(tmp_path, body), scores(), scores())


def test_a_metric_object_of_the_users_is_taken_as_it_is(tmp_path):
    metric = write(tmp_path, "from compressor.evaluation.metrics.accuracy import METRIC as score\n")
    assert metric is find_metric("accuracy")


# The table of all


def documented() -> dict[str, list[str]]:
    """The rows of docs/metrics.md, by metric."""
    page = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return {row[0].strip(" `"): [cell.strip() for cell in row[1:]] for row in cells}


def test_the_table_lists_every_metric_as_it_is():
    table = documented()
    assert sorted(table) == metric_names()
    assert list(table) == sorted(table)
    for name, (value, unit, better, against, needs, _) in table.items():
        metric = find_metric(name)
        assert value
        assert against
        assert unit == metric.unit
        assert better == ("higher" if metric.higher_is_better else "lower")
        wanted = {
            "labels": metric.needs_labels,
            "features": metric.needs_features,
            "radius": metric.needs_gradients,
        }
        assert needs == ", ".join(word for word, needed in wanted.items() if needed)


def test_neighbours_are_those_of_the_nearest_direction():
    from sklearn.neighbors import NearestNeighbors

    before = scores(n=60, classes=12)
    after = before + 0.4 * scores(n=60, classes=12, seed=5)

    def nearest(rows):
        found = NearestNeighbors(n_neighbors=2, metric="cosine").fit(rows)
        return found.kneighbors(rows, return_distance=False)[:, 1]

    expected = 100 * np.mean(nearest(before) == nearest(after))
    found = quality("neighbours", before, after)
    assert 0 < expected < 100
    assert (found.baseline, found.result) == (100, pytest.approx(expected))
    assert found.interval is not None
    assert quality("neighbours", before, 3 * before).result == 100, "lengths do not count"


def test_of_equal_neighbours_any_may_be_found_and_none_where_nothing_is_left():
    before = np.repeat(scores(n=10, classes=6), 3, axis=0)
    jitter = 1e-4 * scores(n=30, classes=6, seed=2)
    assert quality("neighbours", before, before + jitter).result == 100
    gone = before.copy()
    gone[:3] = 0
    gone[3] = np.nan
    assert quality("neighbours", before, gone).result == pytest.approx(100 * 26 / 30)
