"""Metrics of sets, against other implementations and closed forms."""

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.spatial.distance import cdist, pdist
from scipy.special import rel_entr
from sklearn.neighbors import NearestNeighbors
from tables import Table, data
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
from compressor.evaluation.yardstick import Yardstick, choose
from compressor.recipe.budget import parse_budget


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
    table, own = Table(y=rows(60, 3, 0)), data(60)
    scores = metric("fid").evaluate({BASELINE: table, RESULT: table}, own, 7)
    assert scores.samples == 60
    assert scores.least == 40  # twenty in each half
    mine, other = (
        np.concatenate([step.inputs["i"] for step in half.batches(9)]) for half in own.split(0.5, 0)
    )
    expected = frechet(table.table["y"][mine], table.table["y"][other])
    assert float(scores.units[RESULT].mean()) == pytest.approx(expected)
    assert scores.noun == "sample"


def test_what_the_original_makes_is_kept():
    table, own = Table(y=rows(60, 3, 0)), data(60)
    fid = metric("fid")
    for _ in range(3):
        fid.evaluate({BASELINE: table}, own, 7)
    assert table.asked == 60


def test_few_samples_prove_nothing_and_the_number_is_told():
    start = rows(400, 8, 0)
    own = data(400)
    runners = {BASELINE: Table(y=start), RESULT: Table(y=start + 1e-6)}
    budget = parse_budget("50%")
    many = judge(
        metric("fid"), metric("fid").evaluate(runners, own, 50), budget, method="bound", seed=0
    )
    assert many.met
    few = metric("fid").evaluate(runners, own.take(40), 50)
    found = judge(metric("fid"), few, budget, method="bound", seed=0)
    assert (found.met, found.bound, found.n, found.needed) == (False, None, 40, 48)


def test_what_is_not_a_number_has_no_distance():
    start = rows(40, 3, 0)
    runners = {BASELINE: Table(y=start), RESULT: Table(y=start * np.nan)}
    scores = metric("kid").evaluate(runners, data(40), 7)
    assert np.isfinite(scores.units[BASELINE]).all()
    assert np.isnan(scores.units[RESULT]).all()


def test_two_samples_are_too_few():
    with pytest.raises(DataError, match="expected 16 samples or more, found 2"):
        metric("fid").evaluate({BASELINE: Table(y=rows(2, 3, 0))}, data(2), 7)


def test_without_features_the_way_out_is_told():
    with pytest.raises(UsageError, match="none is given") as caught:
        find_metric("fid").evaluate({BASELINE: Table(y=rows(20, 3, 0))}, data(20), 7)
    assert "--features" in str(caught.value.hint)


def test_other_seeds_are_the_reference_where_there_are_some():
    table, own = Table(y=rows(90, 3, 0)), data(45)
    spec = SeenOutput(table.outputs[0], (45, 3), rows=True)
    seen = Seen((spec,), Evidence.NONE, ())
    found = Yardstick(
        (metric("fid"),),
        "y",
        seen,
        Roles(),
        reseeded=lambda of: open_dataset({"i": 45 + of.head(90).inputs["i"]}),
    )
    scores = found.scores(found.metrics[0], {BASELINE: table}, own, 7)
    assert (scores.samples, scores.least) == (45, 20)
    expected = frechet(table.table["y"][:45], table.table["y"][45:])
    assert float(scores.units[BASELINE].mean()) == pytest.approx(expected)


# Of one set, of pairs and of neighbours


def probabilities(n: int, classes: int, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).gamma(0.5, size=(n, classes)) + 1e-9
    return found / found.sum(axis=1, keepdims=True)


def test_the_inception_score_is_the_exponential_of_the_mean_divergence():
    own = probabilities(70, 5, 0)
    expected = np.exp(rel_entr(own, own.mean(axis=0)).sum(axis=1).mean())
    assert metric("inception_score").estimate(sets(own, own)).whole == pytest.approx(expected)


def test_a_score_of_sure_answers_is_the_number_of_classes():
    rows_ = np.eye(4, dtype=np.float32)[np.arange(40) % 4]
    scores = metric("inception_score").evaluate({BASELINE: Table(y=rows_)}, data(40), 7)
    assert float(scores.units[BASELINE].mean()) == pytest.approx(4)
    assert scores.samples == 40


def test_diversity_is_the_ratio_of_mean_distances():
    own, reference = rows(40, 3, 0), rows(50, 3, 1)
    found = metric("diversity").estimate(sets(own, reference)).whole
    assert found == pytest.approx(pdist(own).mean() / pdist(reference).mean(), rel=1e-6)


def test_a_collapsed_generator_has_no_diversity():
    own = np.repeat(rows(1, 3, 0), 40, axis=0)
    assert metric("diversity").estimate(sets(own, rows(40, 3, 0))).whole == pytest.approx(
        0, abs=1e-6
    )


def slow_share(samples: np.ndarray, others: np.ndarray) -> float:
    radii = NearestNeighbors(n_neighbors=4).fit(others).kneighbors(others)[0][:, 3]
    return 100 * float((cdist(samples, others) <= radii).any(axis=1).mean())


def test_precision_and_recall_are_those_of_nearest_neighbours():
    own, reference = 1.5 * rows(70, 3, 0), rows(60, 3, 1)
    found = sets(own, reference)
    assert metric("precision_manifold").estimate(found).whole == slow_share(own, reference)
    assert metric("recall_manifold").estimate(found).whole == slow_share(reference, own)


def test_radii_reach_further_than_what_is_kept_where_all_of_that_is_left_out(monkeypatch):
    monkeypatch.setattr("compressor.evaluation.manifolds.SPARE", 0)
    found = sets(rows(60, 3, 0), rows(60, 3, 1), most=3)
    of_name = metric("precision_manifold")
    estimate = of_name.estimate(found)
    for block in range(3):
        own = np.delete(found.own, found.blocks[block], axis=0)
        reference = np.delete(found.reference, found.others[block], axis=0)
        assert estimate.without[block] == pytest.approx(slow_share(own, reference))


def test_the_feature_distance_is_of_the_same_seeds():
    before, after = rows(12, 3, 0), rows(12, 3, 1)
    found = find_metric("feature_distance")
    assert isinstance(found, FeatureMetric)
    space = FeatureSpace(lambda array: {"features": array}, "as they are")
    scores = found.within(space).evaluate(
        {BASELINE: Table(y=before), RESULT: Table(y=after)}, data(12), 5
    )
    expected = np.linalg.norm(before - after, axis=1)
    np.testing.assert_allclose(scores.units[RESULT][:, 0], expected)
    assert (scores.units[BASELINE] == 0).all()


@pytest.mark.parametrize(("n", "said"), [(40, True), (60, False)])
def test_few_samples_are_told_beforehand(n: int, said: bool):
    table = Table(y=rows(60, 10, 0).astype(np.float32))
    found = choose(table, data(n), 7, roles=Roles(), metric=metric("fid"))
    assert any("fid of 40 samples says little" in notice for notice in found.notices) is said


def test_samples_are_held_in_pieces(monkeypatch):
    found = sets(rows(60, 3, 0), rows(50, 3, 1))
    expected = metric("recall_manifold").estimate(found)
    monkeypatch.setattr("compressor.evaluation.manifolds.ROWS", 7)
    in_pieces = metric("recall_manifold").estimate(found)
    assert in_pieces.whole == expected.whole
    np.testing.assert_array_equal(in_pieces.without, expected.without)
