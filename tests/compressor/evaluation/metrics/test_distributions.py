"""Metrics of sets, against other implementations and closed forms."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torchmetrics.image.kid import poly_mmd

from calibration.dataset import open_dataset
from compressor.errors import DataError, UsageError
from compressor.evaluation.acceptance import judge
from compressor.evaluation.detections import Evidence
from compressor.evaluation.distributions import DistributionMetric, FeatureMetric, Sets
from compressor.evaluation.features import FeatureSpace
from compressor.evaluation.jackknife import blocks_of, pseudo_values
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.roles import Roles
from compressor.evaluation.seen import Seen, SeenOutput
from compressor.evaluation.yardstick import Yardstick
from compressor.graph.tensors import TensorSpec
from compressor.recipe.budget import parse_budget


class Table:
    """A model that looks its answers up."""

    def __init__(self, rows):
        self.rows = rows
        self.asked = 0
        self.inputs = (TensorSpec("i", np.dtype(np.int64), ("n",)),)
        self.outputs = (TensorSpec("y", rows.dtype, ("n", *rows.shape[1:])),)

    def run(self, feeds):
        self.asked += len(feeds["i"])
        return {"y": self.rows[feeds["i"]]}


def metric(name: str) -> DistributionMetric:
    """The metric on outputs that are features already."""
    found = find_metric(name)
    assert isinstance(found, FeatureMetric)
    space = FeatureSpace(lambda array: {"features": array, "logits": array}, "as they are")
    within = found.within(space)
    assert isinstance(within, DistributionMetric)
    return within


def rows(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)


def sets(own: np.ndarray, reference: np.ndarray, most: int = 10) -> Sets:
    return Sets(own, reference, blocks_of(len(own), most), blocks_of(len(reference), most))


def without(found: Sets, block: int) -> Sets:
    """The sets without a block, divided anew."""
    own = np.delete(found.own, found.blocks[block], axis=0)
    return sets(own, np.delete(found.reference, found.others[block], axis=0))


def frechet(own: np.ndarray, reference: np.ndarray) -> float:
    """By the root of the product, as the paper's own code."""
    s, t = np.cov(own, rowvar=False), np.cov(reference, rowvar=False)
    shared = scipy.linalg.sqrtm(s @ t).real
    apart = own.mean(axis=0) - reference.mean(axis=0)
    return float(apart @ apart + np.trace(s + t - 2 * shared))


def test_fid_is_that_of_the_root_of_the_product():
    own, reference = rows(120, 6, 0), rows(100, 6, 1)
    assert metric("fid").estimate(sets(own, reference)).whole == pytest.approx(
        frechet(own, reference), rel=1e-9
    )


def test_fid_of_a_shift_is_its_square():
    own = rows(50, 4, 0)
    found = metric("fid").estimate(sets(own + 3, own)).whole
    assert found == pytest.approx(4 * 9, rel=1e-9)


def test_kid_is_that_of_torchmetrics():
    own, reference = rows(80, 5, 0), rows(80, 5, 1)
    expected = poly_mmd(
        torch.from_numpy(own), torch.from_numpy(reference), degree=3, gamma=None, coef=1.0
    )
    found = metric("kid").estimate(sets(own, reference)).whole
    assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("name", ["fid", "kid"])
def test_what_is_left_without_a_block_is_the_figure_of_the_rest(name: str):
    found = sets(rows(60, 4, 0), rows(53, 4, 1))
    of_name = metric(name)
    estimate = of_name.estimate(found)
    expected = [of_name.estimate(without(found, block)).whole for block in range(10)]
    np.testing.assert_allclose(estimate.without, expected, rtol=1e-9)


def test_pseudo_values_of_a_mean_are_the_values():
    values = np.random.default_rng(0).standard_normal(12)
    blocks = blocks_of(12)
    rest = np.array([np.delete(values, block).mean() for block in blocks])
    found = pseudo_values(values.mean(), rest, [1] * 12)
    np.testing.assert_allclose(found[:, 0], values[np.concatenate(blocks)], atol=1e-12)


def test_the_mean_of_pseudo_values_is_the_figure_also_of_uneven_blocks():
    found = pseudo_values(3.0, np.array([2.5, 3.1, 3.2]), [4, 3, 3])
    assert found.mean() == pytest.approx(3.0)


def test_a_single_model_is_compared_on_the_other_half():
    table, data = Table(rows(60, 3, 0)), open_dataset({"i": np.arange(60)})
    scores = metric("fid").evaluate({BASELINE: table, RESULT: table}, data, 7)
    assert scores.samples == 60
    assert scores.least == 18  # three a feature in each half
    own, other = (
        np.concatenate([step.inputs["i"] for step in half.batches(9)])
        for half in data.split(0.5, 0)
    )
    expected = frechet(table.rows[own], table.rows[other])
    assert float(scores.units[RESULT].mean()) == pytest.approx(expected)
    assert scores.noun == "sample"


def test_what_the_original_makes_is_kept():
    table, data = Table(rows(60, 3, 0)), open_dataset({"i": np.arange(60)})
    fid = metric("fid")
    for _ in range(3):
        fid.evaluate({BASELINE: table}, data, 7)
    assert table.asked == 60


def test_few_samples_prove_nothing_and_the_number_is_told():
    start = rows(400, 8, 0)
    data = open_dataset({"i": np.arange(400)})
    runners = {BASELINE: Table(start), RESULT: Table(start + 1e-6)}
    budget = parse_budget("50%")
    many = judge(
        metric("fid"), metric("fid").evaluate(runners, data, 50), budget, method="bound", seed=0
    )
    assert many.met
    few = metric("fid").evaluate(runners, data.take(40), 50)
    found = judge(metric("fid"), few, budget, method="bound", seed=0)
    assert (found.met, found.bound, found.n, found.needed) == (False, None, 40, 48)


def test_what_is_not_a_number_has_no_distance():
    start = rows(40, 3, 0)
    runners = {BASELINE: Table(start), RESULT: Table(start * np.nan)}
    scores = metric("kid").evaluate(runners, open_dataset({"i": np.arange(40)}), 7)
    assert np.isfinite(scores.units[BASELINE]).all()
    assert np.isnan(scores.units[RESULT]).all()


def test_two_samples_are_too_few():
    with pytest.raises(DataError, match="expected 16 samples or more, found 2"):
        metric("fid").evaluate(
            {BASELINE: Table(rows(2, 3, 0))}, open_dataset({"i": np.arange(2)}), 7
        )


def test_without_features_the_way_out_is_told():
    with pytest.raises(UsageError, match="none is given") as caught:
        find_metric("fid").evaluate(
            {BASELINE: Table(rows(20, 3, 0))}, open_dataset({"i": np.arange(20)}), 7
        )
    assert "--features" in str(caught.value.hint)


def test_other_seeds_are_the_reference_where_there_are_some():
    table, data = Table(rows(90, 3, 0)), open_dataset({"i": np.arange(45)})
    spec = SeenOutput(table.outputs[0], (45, 3), rows=True)
    seen = Seen((spec,), Evidence.NONE, ())
    found = Yardstick(
        (metric("fid"),),
        "y",
        seen,
        Roles(),
        reseeded=lambda own: open_dataset({"i": 45 + own.head(90).inputs["i"]}),
    )
    scores = found.scores(found.metrics[0], {BASELINE: table}, data, 7)
    assert (scores.samples, scores.least) == (45, 9)
    expected = frechet(table.rows[:45], table.rows[45:])
    assert float(scores.units[BASELINE].mean()) == pytest.approx(expected)
