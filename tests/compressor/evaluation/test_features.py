import numpy as np
import pytest

from compressor.errors import UsageError
from compressor.evaluation.features import FeatureSpace


def space(**outputs: np.ndarray) -> FeatureSpace:
    return FeatureSpace(lambda array: outputs, "net.onnx")


def test_outputs_are_told_by_name():
    features, logits = np.ones((2, 3), np.float32), np.zeros((2, 4), np.float32)
    found = space(logits=logits, pool_out=features)
    np.testing.assert_array_equal(found.features(logits), features)
    np.testing.assert_allclose(found.class_scores(logits), np.full((2, 4), 0.25))


def test_probabilities_stay_what_they_are():
    given = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    np.testing.assert_allclose(space(y=given).class_scores(given), given)


def test_maps_are_flattened():
    assert space(y=np.zeros((2, 3, 1, 1), np.float32)).features(np.zeros((2, 1))).shape == (2, 3)


def test_what_scores_classes_has_to_be_told():
    outputs = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)}
    with pytest.raises(UsageError, match="expected scores of two classes"):
        space(**outputs).class_scores(np.zeros((2, 1)))


def test_rows_have_to_be_of_samples():
    with pytest.raises(UsageError, match=r"net.onnx: expected a floating array of shape \[2, feat"):
        space(y=np.zeros((3, 5), np.float32)).features(np.zeros((2, 1)))


def test_the_same_array_is_asked_once():
    calls = []

    def run(array: np.ndarray) -> dict[str, np.ndarray]:
        calls.append(array)
        return {"features": array}

    found, array = FeatureSpace(run, "f"), np.ones((4, 2), np.float32)
    found.features(array)
    found.features(array.copy())
    found.features(2 * array)
    assert len(calls) == 2


def test_texts_have_no_features():
    with pytest.raises(UsageError, match="are of numbers"):
        FeatureSpace(lambda array: {"f": array}, "f.onnx").features(np.array(["a", "b"]))
