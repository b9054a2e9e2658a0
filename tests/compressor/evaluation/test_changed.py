"""Which samples changed, on models that look their answers up."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from calibration.dataset import open_dataset
from calibration.preprocess import Preprocess
from compressor.errors import DataError
from compressor.evaluation.changed import MOST, Changed, changed_decisions, decides, largest_errors
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.pictures import LARGEST, picture, tokens
from compressor.evaluation.roles import Roles
from compressor.evaluation.yardstick import choose
from compressor.graph.tensors import TensorSpec


class Table:
    """Answers sample after sample from a table, whatever the inputs are."""

    def __init__(self, answers: np.ndarray, name: str = "x") -> None:
        self.answers = answers
        self.inputs = (TensorSpec(name, np.dtype(np.float32), ("n",)),)
        self.outputs = (TensorSpec("y", answers.dtype, ("n", *answers.shape[1:])),)
        self.seen = 0
        self.largest = 0

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        count = len(next(iter(feeds.values())))
        self.largest = max(self.largest, count)
        answers = self.answers[self.seen : self.seen + count]
        self.seen += count
        return {"y": answers}


def compared(compare, before, after, labels=None, x=None, **how) -> Changed:
    x = np.arange(len(before), dtype=np.float32) if x is None else x
    data = open_dataset({"x": x} if labels is None else {"x": x, "label": labels}, **how)
    return compare({BASELINE: Table(before), RESULT: Table(after)}, data, 7)


def logits(decisions: list[int], surplus: list[float] | None = None, classes: int = 4):
    """Scores of 0 but for the decision."""
    scores = np.zeros((len(decisions), classes), np.float32)
    scores[np.arange(len(decisions)), decisions] = 1.0 if surplus is None else surplus
    return scores


def test_changed_decisions_tell_before_after_label_and_margin():
    before = logits([0, 1, 2, 3, 0, 1, 2, 3, 0], [1, 1, 0.5, 1, 1, 1, 1, 2.0, 1])
    after = logits([0, 1, 3, 3, 0, 1, 2, 0, 0])
    found = compared(changed_decisions, before, after, labels=np.array([0, 1, 2, 3, 0, 1, 2, 0, 0]))
    assert found.total == 2
    told = [(s.index, s.before, s.after, s.label, s.margin) for s in found.samples]
    assert told == [(7, 3, 0, 0, 2.0), (2, 2, 3, 2, 0.5)]
    assert all(s.image is None and s.text is None and s.error is None for s in found.samples)


def test_without_a_change_there_is_nothing_to_show():
    same = logits([0, 1, 2])
    assert compared(changed_decisions, same, same) == Changed((), 0, None)


def test_the_surest_are_kept_and_all_are_counted():
    rng = np.random.default_rng(0)
    surplus = rng.permutation(np.linspace(0.1, 2, 50)).tolist()
    found = compared(changed_decisions, logits([0] * 50, surplus), logits([1] * 50))
    assert (found.total, len(found.samples)) == (50, MOST)
    expected = sorted(range(50), key=lambda i: -surplus[i])[:MOST]
    assert [sample.index for sample in found.samples] == expected


def test_of_ties_the_earlier_samples_are_kept():
    found = compared(changed_decisions, logits([0] * 30), logits([1] * 30))
    assert [sample.index for sample in found.samples] == list(range(MOST))


def test_an_answer_of_nan_is_no_decision_and_comes_first():
    after = logits([1, 0, 0])
    after[2, 3] = np.nan
    found = compared(changed_decisions, logits([0, 0, 0]), after)
    told = [(s.index, s.before, s.after, s.margin) for s in found.samples]
    assert told == [(2, 0, -1, None), (0, 0, 1, 1.0)]


def test_the_index_leads_to_the_sample_in_the_source():
    x = np.arange(40, dtype=np.float32)
    _, part = open_dataset({"x": x, "text": [f"number {i}" for i in range(40)]}).split(0.5, seed=0)
    runners = {BASELINE: Table(logits([0] * 20)), RESULT: Table(logits([1] * 20))}
    found = changed_decisions(runners, part, 7)
    assert found.samples[-1].index > 12
    assert all(sample.text == f"number {sample.index}" for sample in found.samples)
    runners = {
        BASELINE: Table(np.ones((20, 2), np.float32)),
        RESULT: Table(np.eye(20, 2, dtype="f")),
    }
    found = largest_errors(runners, part, 7)
    assert all(sample.text == f"number {sample.index}" for sample in found.samples)


def test_labels_that_are_no_class_numbers_are_left_out():
    found = compared(changed_decisions, logits([0]), logits([1]), labels=np.array([[0.5, 0.5]]))
    assert found.samples[0].label is None


def test_largest_errors_are_relative_to_the_original():
    before = np.array([[3.0, 4.0], [0.0, 10.0], [1.0, 0.0], [0.0, 0.0]], np.float32)
    after = np.array([[3.0, 4.5], [0.0, 10.0], [0.5, 0.0], [0.0, 1.0]], np.float32)
    found = compared(largest_errors, before, after)
    assert found.total is None
    assert found.reason
    assert [(s.index, s.error) for s in found.samples] == [
        (3, np.inf),
        (2, pytest.approx(0.5)),
        (0, pytest.approx(0.1)),
    ]


@pytest.mark.parametrize(
    ("metric", "shape", "expected"),
    [
        ("accuracy", (8, 4), True),
        ("agreement", (8, 4), True),
        ("agreement", (8, 6, 4), False),
        ("mse", (8, 4), False),
        ("r2", (8, 4), False),
    ],
)
def test_what_decides_follows_from_the_metric(metric, shape, expected):
    data = open_dataset({"x": np.zeros((8, 2), np.float32), "label": np.zeros(8, np.int64)})
    table = Table(np.zeros((9 * shape[0], *shape[1:]), np.float32))  # for nine runs
    how = {"roles": Roles(), "metric": find_metric(metric)}
    assert decides(choose(table, data, 8, **how)) == expected


def pixels_of(uri: str) -> np.ndarray:
    prefix, _, content = uri.partition(",")
    assert prefix == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_images_are_shown_as_they_were_stored():
    stored = np.random.default_rng(0).integers(0, 256, (3, 9, 12, 3), np.uint8)
    preprocess = Preprocess(
        layout="nhwc-to-nchw", scale=1 / 255, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1)
    )
    found = compared(
        changed_decisions, logits([0, 1, 2]), logits([0, 3, 2]), x=stored, preprocess=preprocess
    )
    assert found.samples[0].image is not None
    np.testing.assert_array_equal(pixels_of(found.samples[0].image), stored[1])


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (np.full((1, 8, 8), 0.5, np.float32), 128),
        (np.full((8, 8, 3), 200, np.uint8), 200),
        (np.where(np.eye(8), -3.0, 5.0)[None].astype(np.float32), None),
    ],
)
def test_values_become_gray_levels(stored: np.ndarray, shown: int | None):
    found = picture(stored, None)
    assert found is not None
    levels = pixels_of(found)
    if shown is None:
        assert (levels.min(), levels.max()) == (0, 255)
    else:
        assert np.unique(levels).tolist() == [shown]


def test_large_images_are_reduced():
    found = picture(np.zeros((3, 300, 200), np.float32), None)
    assert found is not None
    assert pixels_of(found).shape == (LARGEST, LARGEST * 2 // 3, 3)


@pytest.mark.parametrize("shape", [(3, 7, 9), (2, 16, 16), (16,), (16, 16), (4, 3, 16, 16)])
def test_other_arrays_are_no_images(shape: tuple[int, ...]):
    assert picture(np.zeros(shape, np.float32), None) is None


def test_an_image_that_is_not_finite_is_not_shown():
    assert picture(np.full((1, 8, 8), np.nan, np.float32), None) is None


def test_texts_of_the_data_are_shown(tmp_path: Path):
    arrays = {
        "x": np.arange(3, dtype=np.float32),
        "text": np.array(["one", "<b>two</b>", "t" * 900]),
    }
    np.savez(tmp_path / "data.npz", **arrays)
    batches = [{name: array[i : i + 1] for name, array in arrays.items()} for i in range(3)]
    for source in (
        tmp_path / "data.npz",
        arrays,
        {**arrays, "text": list(arrays["text"])},
        batches,
    ):
        data = open_dataset(source).bind((TensorSpec("input", np.dtype(np.float32), ("n",)),))
        runners = {BASELINE: Table(logits([0, 1, 2])), RESULT: Table(logits([0, 3, 3]))}
        found = changed_decisions(runners, data, 2)
        assert [sample.text for sample in found.samples] == ["<b>two</b>", "t" * 200]


def test_half_a_surrogate_pair_can_be_written():
    arrays = {"x": np.arange(1, dtype=np.float32), "text": np.array(["\ud800 lone"])}
    data = open_dataset(arrays).bind((TensorSpec("input", np.dtype(np.float32), ("n",)),))
    runners = {BASELINE: Table(logits([0])), RESULT: Table(logits([1]))}
    (sample,) = changed_decisions(runners, data, 2).samples
    assert sample.text == "? lone"
    assert "? lone" in sample.model_dump_json()


def test_texts_alone_are_no_data():
    with pytest.raises(DataError, match="texts alone"):
        open_dataset({"text": np.array(["one", "two"])})


def test_token_ids_are_shortened():
    ids = np.arange(100, 140)
    assert tokens({"ids": ids[:3]}) == "100 101 102"
    long = tokens({"mask": np.zeros((4, 4)), "ids": ids})
    assert long is not None
    assert long.startswith("100 101")
    assert long.endswith("… (40 tokens)")
    assert tokens({"x": np.zeros(4)}) is None
