"""Which samples serve which purpose: none judges what it was used for."""

from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model
from hypothesis import given, settings
from hypothesis import strategies as st
from seams import TARGET, Told

from calibration.collect import collect
from calibration.dataset import CalibrationSet, open_dataset
from compressor.checkpoint.prepared import Prepared
from compressor.graph.shapes import input_specs
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.recipe import Recipe
from compressor.search.data_split import DataSplit, examined, looked_at, of_calls, split_data
from compressor.system.progress import SILENT


def rows(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((samples, 8)).astype(np.float32)


def net() -> ir.Model:
    return model("g (float[n,8] x, float[8,6] w) => (float[n,6] y) { y = MatMul(x, w) }", w=[8, 6])


def prepared(
    calibration: np.ndarray | None, evaluation: np.ndarray | None = None, made: Any = None
) -> Prepared:
    made = made or net()
    calib, judging = (
        None if x is None else open_dataset({"x": x}).bind(input_specs(made))
        for x in (calibration, evaluation)
    )
    return Prepared("g", None, made, True, (), (), calib, judging)


def values(data: CalibrationSet | None) -> set[bytes]:
    """The samples, each as its bytes."""
    assert data is not None
    found: set[bytes] = set()
    for batch in data.batches(16):
        found.update(row.tobytes() for row in batch.inputs["x"])
    return found


@settings(max_examples=25)
@given(st.integers(2, 40), st.integers(0, 3))
def test_a_fifth_of_the_calibration_samples_is_held_out(samples: int, seed: int):
    whole = prepared(rows(samples))
    split = split_data(whole, seed)
    assert values(split.calibration).isdisjoint(values(split.quality))
    assert values(split.calibration) | values(split.quality) == values(whole.calibration)
    assert split.quality is not None
    assert abs(len(split.quality) - samples / 5) <= 1
    assert split.calibration is not None
    assert split.fingerprint == split.calibration.fingerprint()
    assert split.share == 0.2
    again = split_data(whole, seed)
    assert again.fingerprint == split.fingerprint, "the seed alone decides"


def test_evaluation_data_judges_and_all_else_calibrates():
    whole = prepared(rows(20), rows(10, seed=1))
    split = split_data(whole, 0)
    assert split.calibration is whole.calibration
    assert split.quality is whole.evaluation
    assert (split.words, split.share) == ("evaluation data", 1.0)
    alone = split_data(prepared(None, rows(10)), 0)
    assert (alone.calibration, alone.fingerprint) == (None, None)
    assert alone.quality is not None


def test_with_statistics_nothing_is_held_out_as_they_may_be_of_these_samples():
    whole = prepared(rows(20))
    data = whole.calibration
    assert data is not None
    stats = collect(whole.model, ["x"], data).of_data("abc")
    split = split_data(whole, 0, stats)
    assert split.calibration is data
    assert (split.quality, split.fingerprint) == (None, "abc")
    assert "--stats" in split.notices[0]
    assert "pass --eval" in split.quality_reason


def test_one_sample_that_calibrates_is_why_nothing_judges():
    split = split_data(prepared(rows(1)), 0)
    assert split.quality is None
    assert "pass --eval" in split.quality_reason
    assert "--calib" not in split.quality_reason


def test_uses_are_told_with_their_purpose():
    split = split_data(prepared(rows(20)), 0)
    assert [(use.role, use.samples, use.purpose) for use in split.uses] == [
        ("calibration", 16, None),
        ("evaluation", 4, None),
    ]
    divided = replace(split, search=split.calibration)
    assert [use.purpose for use in divided.uses] == [None, "search", "confirm"]
    assert DataSplit(None, None).uses == ()


# What the figures rest on


def test_samples_that_are_seen_twice_are_counted():
    told = Told()
    whole = prepared(rows(12), np.concatenate([rows(12)[:3], rows(5, seed=1)]))
    found = examined(whole, split_data(whole, 0), told)
    (notice,) = found.notices
    assert notice.startswith("3 of 8 samples that judge")
    assert notice.endswith("Keep --calib and --eval apart, and copies out of both")
    assert told.notices == [notice]
    apart = prepared(rows(12), rows(5, seed=1))
    assert examined(apart, split_data(apart, 0), SILENT).notices == ()
    copies = prepared(np.tile(rows(4), (8, 1)))
    (notice,) = examined(copies, split_data(copies, 0), SILENT).notices
    assert notice.endswith("The data holds them more than once")


def test_data_that_does_not_vary_is_marked_and_nothing_is_refused():
    still = prepared(np.zeros((12, 8), np.float32), rows(5))
    before = split_data(still, 0)
    found = examined(still, before, SILENT)
    assert found.degenerate is not None
    assert found.notices == (found.degenerate,)
    assert replace(found, degenerate=None, notices=()) == before


IMAGES = np.random.default_rng(0).standard_normal((20, 3, 8, 8)).astype(np.float32)


def normed() -> ir.Model:
    """Convolution and BatchNormalization that has seen normal data."""
    made = model(
        """g (float[n,3,8,8] x, float[16,3,3,3] w, float[16] s, float[16] b, float[16] m,
              float[16] v) => (float[n,16,8,8] y) <float[n,16,8,8] c>
        {
            c = Conv<pads=[1,1,1,1]>(x, w)
            y = BatchNormalization(c, s, b, m, v)
        }""",
        w=[16, 3, 3, 3], s=[16], b=[16], m=[16], v=[16],
    )  # fmt: skip
    weight = made.graph.initializers["w"].const_value
    assert weight is not None
    inner = np.square(weight.numpy()).sum(axis=(1, 2, 3))
    for name, array in (("m", np.zeros(16)), ("v", inner * 0.87)):
        made.graph.initializers[name].const_value = ir.tensor(array.astype(np.float32), name=name)
    return made


@pytest.mark.parametrize(
    ("calib", "judging", "told"),
    [
        (IMAGES, IMAGES, []),
        (IMAGES, 255 * IMAGES, ["evaluation"]),
        (255 * IMAGES, IMAGES, ["calibration"]),
        (255 * IMAGES, None, ["calibration"]),
        (IMAGES[:1].repeat(20, axis=0), 255 * IMAGES, ["evaluation"]),
        (None, 255 * IMAGES, ["evaluation"]),
    ],
)
def test_data_that_calibrates_and_data_that_judges_are_looked_at_each(calib, judging, told):
    whole = prepared(calib, judging, normed())
    notices = examined(whole, split_data(whole, 0), SILENT).notices
    unlike = [notice for notice in notices if "does not look like" in notice]
    assert [notice.split()[1] for notice in unlike] == told


def test_outputs_are_looked_at_where_something_judges():
    whole, told = prepared(rows(20)), Told()
    recipe = Recipe(measure=MeasureOptions(metric="cosine"))
    split = split_data(whole, 0)
    found = looked_at(whole, split, recipe, TARGET, told)
    assert found.yardstick is not None
    assert [metric.name for metric in found.yardstick.metrics] == ["cosine"]
    assert told.stages == ["look at outputs"]
    assert replace(found, yardstick=None) == whole
    assert looked_at(whole, replace(split, quality=None), recipe, TARGET, told) is whole
    assert told.stages == ["look at outputs"]


def test_calls_of_a_loop_that_are_alike_are_no_data_that_is_seen_twice():
    calls = prepared(np.tile(rows(4), (8, 1)))
    split = of_calls(split_data(calls, 0))
    assert split.words == "recorded calls not used to calibrate"
    assert examined(calls, split, SILENT).notices == ()
    still = of_calls(split_data(prepared(np.ones((12, 8), np.float32)), 0))
    assert "does not vary" in (examined(calls, still, SILENT).degenerate or "")
    assert of_calls(DataSplit(None, None)).words == ""
