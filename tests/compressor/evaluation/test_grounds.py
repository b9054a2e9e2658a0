"""What figures rest on: data that does not vary, samples seen twice, inputs unlike training."""

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model

from calibration.dataset import open_dataset
from compressor.evaluation.grounds import shared_samples, why_degenerate
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, Scores
from compressor.evaluation.trained_on import unlike_training
from compressor.evaluation.yardstick import Yardstick, chance
from compressor.graph.shapes import input_specs

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((20, 3, 8, 8)).astype(np.float32)


@pytest.mark.parametrize(
    "x",
    [np.zeros((20, 3, 8, 8)), np.full((20, 3, 8, 8), 0.5), IMAGES[:1].repeat(20, axis=0)],
    ids=["zeros", "gray", "copies"],
)
def test_samples_that_are_all_the_same_are_degenerate(x):
    why, _ = why_degenerate(open_dataset({"x": x.astype(np.float32)}))
    assert why == "calibration data does not vary: all samples are the same"


def test_rounding_is_no_variation_and_a_single_other_sample_is():
    x = np.ones((20, 8), np.float32)
    x[3] += 1e-7
    assert why_degenerate(open_dataset({"x": x}))[0] is not None
    x[3] = 2
    assert why_degenerate(open_dataset({"x": x})) == (None, ())


def test_one_sample_is_told_and_is_degenerate_where_it_holds_one_number():
    why, said = why_degenerate(open_dataset({"x": IMAGES[:1]}))
    assert why is None
    assert "calibration data is one sample" in said[0]
    assert why_degenerate(open_dataset({"x": np.zeros((1, 3, 8, 8), np.float32)}))[0] is not None


def test_an_input_that_never_changes_beside_others_is_told():
    tokens = RNG.integers(100, size=(20, 6))
    black = np.zeros((20, 3, 8, 8), np.float32)
    why, said = why_degenerate(open_dataset({"tokens": tokens, "image": black}))
    assert why is None
    assert "input 'image' is the same in all samples" in said[0]
    mask, scale = np.ones((20, 6), np.int64), np.ones((20, 1), np.float32)
    quiet = open_dataset({"tokens": tokens, "mask": mask, "scale": scale})
    assert why_degenerate(quiet) == (None, ())


def test_samples_of_both_sets_are_counted():
    one, other = open_dataset({"x": IMAGES[:12]}), open_dataset({"x": IMAGES[9:]})
    assert shared_samples(one, other) == (3, 11)
    assert shared_samples(one, open_dataset({"x": IMAGES[12:]})) == (0, 8)


def normed() -> ir.Model:
    """Convolution and BatchNormalization that has seen normal data."""
    net = model(
        """g (float[n,3,8,8] x, float[16,3,3,3] w, float[16] s, float[16] b, float[16] m,
              float[16] v) => (float[n,16,8,8] y) <float[n,16,8,8] c>
        {
            c = Conv<pads=[1,1,1,1]>(x, w)
            y = BatchNormalization(c, s, b, m, v)
        }""",
        w=[16, 3, 3, 3], s=[16], b=[16], m=[16], v=[16],
    )  # fmt: skip
    weight = net.graph.initializers["w"].const_value.numpy()
    inner = np.square(weight).sum(axis=(1, 2, 3))
    for name, array in (("m", np.zeros(16)), ("v", inner * 0.87)):
        net.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
    return net


@pytest.mark.parametrize(
    ("x", "told"),
    [(IMAGES, False), (IMAGES * 1.3, False), (255 * IMAGES, True), (IMAGES * 0.2 + 0.5, True)],
    ids=["as in training", "a little wider", "no scale", "no mean and std"],
)
def test_data_unlike_that_of_training_is_told(x, told):
    data = open_dataset({"x": x.astype(np.float32)}).bind(input_specs(normed()))
    said = unlike_training(normed(), data, None)
    assert (said is not None) == told
    assert said is None or "--mean" in said


def test_a_fresh_norm_says_nothing_of_training():
    net = normed()
    ones = ir.tensor(np.ones(16, np.float32), name="v")
    net.graph.initializers["v"].const_value = ones
    data = open_dataset({"x": 255 * IMAGES}).bind(input_specs(net))
    assert unlike_training(net, data, None) is None


@pytest.mark.parametrize(
    ("hits", "n", "classes", "told"),
    [
        (12, 100, 10, True),
        (5, 100, 10, True),
        (30, 100, 10, False),
        (14, 20, 2, True),
        (9, 9, 2, False),
    ],
)
def test_an_accuracy_at_chance_is_told(hits, n, classes, told):
    units = np.zeros((n, 1))
    units[:hits] = 1
    stick = Yardstick((), "y", None, None, classes=classes)
    said = chance(stick, find_metric("accuracy"), Scores({BASELINE: units}, "labels", n))
    assert (said is not None) == told
    assert chance(stick, find_metric("accuracy"), Scores({BASELINE: units}, "original", n)) is None
