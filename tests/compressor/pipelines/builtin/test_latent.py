"""Generators of noise and classes."""

import numpy as np
import pytest

from compressor.errors import UsageError
from compressor.graph.tensors import TensorSpec
from compressor.pipelines.builtin import find
from compressor.pipelines.calls import GraphCall

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)


def generator(*more: TensorSpec, rows: object = "batch", name: str = "z"):
    fed = []

    def run(feeds):
        fed.append(dict(feeds))
        return {"image": feeds[name] * 2}

    return GraphCall("generator", (TensorSpec(name, FLOAT, (rows, 6)), *more), run), fed


@pytest.mark.parametrize("rows", ["batch", 1, 4, None])
def test_noise_is_that_of_the_seed(rows):
    graph, fed = generator(rows=rows)
    loop = find("latent")()
    together = loop({"generator": graph}, 5, 3)["sample"]
    alone = [loop({"generator": graph}, seed, 1)["sample"][0] for seed in (5, 6, 7)]
    np.testing.assert_allclose(together, alone)
    assert len(fed[0]["z"]) == (3 if isinstance(rows, str | None) else rows)
    wanted = 2 * np.random.default_rng(6).standard_normal(6)
    np.testing.assert_allclose(together[1], wanted, rtol=1e-6)


def test_noise_can_be_bounded_or_uniform():
    graph, _ = generator()
    near = find("latent")({"truncation": 0.5})({"model": graph}, 0, 50)["sample"] / 2
    assert 0.4 < np.abs(near).max() <= 0.5
    even = find("latent")({"distribution": "uniform"})({"model": graph}, 0, 200)["sample"] / 2
    assert np.abs(even).max() <= 1
    assert even.std() == pytest.approx(3**-0.5, abs=0.03)


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        (TensorSpec("labels", INT, ("batch",)), (20,)),
        (TensorSpec("whatever", np.dtype(np.int32), ("batch", 1)), (20, 1)),
        (TensorSpec("y", FLOAT, ("batch", 4)), (20, 4)),
    ],
)
def test_classes_are_drawn_in_the_form_of_their_input(spec, shape):
    graph, fed = generator(spec)
    found = find("latent")({"classes": "4"})({"generator": graph}, 0, 20)
    given = fed[0][spec.name]
    assert (given.shape, given.dtype) == (shape, spec.dtype)
    classes = given.argmax(1) if shape == (20, 4) else given.reshape(-1)
    np.testing.assert_array_equal(classes, found["label"])
    assert set(classes) == {0, 1, 2, 3}


def test_what_is_not_known_is_asked_for():
    graph, _ = generator(TensorSpec("labels", INT, ("batch",)))
    with pytest.raises(UsageError, match="nothing says how many") as error:
        find("latent")()({"generator": graph}, 0, 1)
    assert "classes=N" in error.value.hint
    with pytest.raises(UsageError, match="reads no data"):
        find("latent")(calibration=np.zeros(3))
    graph, _ = generator(rows="batch")
    with pytest.raises(UsageError, match="was asked for"):
        find("latent")({"shape": "7"})({"generator": graph}, 0, 1)
