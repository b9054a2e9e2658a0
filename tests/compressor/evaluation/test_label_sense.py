"""Labels that are none of the model's classes, are shifted by one, or all the same."""

import numpy as np
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.roles import roles_of
from compressor.evaluation.yardstick import choose
from compressor.graph.shapes import input_specs
from exporters.ort.target import TARGET

MODEL = model("g (float[n,4] x) => (float[n,4] logits) { logits = Identity(x) }")
CLASSES = np.arange(200) % 4
X = np.eye(4, dtype=np.float32)[CLASSES]


def chosen(labels, metric=None):
    data = open_dataset({"x": X, "label": labels}).bind(input_specs(MODEL))
    asked = None if metric is None else find_metric(metric)
    with TARGET.open(MODEL) as runner:
        return choose(runner, data, 32, roles=roles_of(MODEL), metric=asked)


def test_labels_that_fit_raise_no_doubts():
    found = chosen(CLASSES)
    assert found.metrics[0].name == "accuracy" and not found.notices


@pytest.mark.parametrize(("labels", "sign"), [((CLASSES + 1) % 4, "-"), ((CLASSES - 1) % 4, "+")])
def test_labels_that_are_shifted_by_one_are_told(labels, sign):
    notices = chosen(labels).notices
    assert any("shifted by one" in one and f"label {sign} 1" in one for one in notices)


def test_a_single_class_is_told():
    data = open_dataset({"x": X[::4], "label": CLASSES[::4]}).bind(input_specs(MODEL))
    with TARGET.open(MODEL) as runner:
        found = choose(runner, data, 32, roles=roles_of(MODEL))
    assert any("all labels are class 0" in one for one in found.notices)


def test_a_label_beyond_the_classes_is_found_wherever_it_stands():
    late = CLASSES.copy()
    late[190] = 4
    with pytest.raises(DataError, match=r"expected classes 0 to 3.*found 4"):
        chosen(late, "accuracy")
    found = chosen(late)
    assert found.metrics[0].name != "accuracy"
    assert any("from 0 to 4" in one for one in found.notices)


def test_labels_that_count_from_one_say_what_to_do():
    with pytest.raises(DataError) as info:
        chosen(CLASSES + 1, "accuracy")
    assert "subtract 1" in info.value.hint


def test_whole_numbers_of_a_floating_type_say_what_to_do():
    with pytest.raises(DataError) as info:
        chosen(CLASSES.astype(np.float32), "accuracy")
    assert "astype('int64')" in info.value.hint


def test_names_of_classes_say_what_to_do():
    with pytest.raises(UsageError) as info:
        chosen(np.array(["cat", "dog"] * 100))
    assert "searchsorted" in info.value.hint
