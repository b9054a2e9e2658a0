"""How often a budget on a distance of distributions is accepted wrongly: at most 5 % are allowed.

    python benchmarks/distances.py [--runs 400] [--metric fid] [--sizes 100,300,1000]

Simulates features of an original and of a result whose true loss is at the budget's edge, and
takes the decision that a run takes on its confirming units. The true loss at a size is the mean
over other sets of that size. Ends with 1 where the rate is above 5 % by more than chance
(one-sided binomial test at 1 %).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from compressor.evaluation.acceptance import judge
from compressor.evaluation.distributions import DistributionMetric, Sets
from compressor.evaluation.features import FeatureSpace
from compressor.evaluation.jackknife import BLOCKS, blocks_of
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, FloatArray, Scores
from compressor.recipe.budget import Budget

Change = Callable[[np.random.Generator, FloatArray], FloatArray]
ALLOWED = 0.05


@dataclass(frozen=True)
class Case:
    """What becomes of the original's features of a seed."""

    name: str
    d: int
    change: Change


def shifted(rng: np.random.Generator, rows: FloatArray) -> FloatArray:
    """All features move a little, and each unit by chance."""
    return rows + 0.1 + 0.2 * rng.standard_normal(rows.shape)


def noisy(rng: np.random.Generator, rows: FloatArray) -> FloatArray:
    """Every unit differs, the distribution hardly."""
    return np.asarray(0.95 * rows + 0.3 * rng.standard_normal(rows.shape))


def collapsed(rng: np.random.Generator, rows: FloatArray) -> FloatArray:
    """One unit of twenty becomes the same."""
    return np.where(rng.random((len(rows), 1)) < 0.05, 0.5, rows)


CASES = tuple(
    Case(f"{change.__name__}, d = {d}", d, change)
    for d in (8, 32)
    for change in (shifted, noisy, collapsed)
)
SIZES = "100,300,1000"


def features(rng: np.random.Generator, n: int, d: int) -> FloatArray:
    """Features with a decaying spectrum and heavier tails than the normal distribution."""
    scale = 1 / np.sqrt(1 + np.arange(d))
    return np.asarray(rng.standard_t(6, (n, d)) * scale)


def drawn(case: Case, n: int, rng: np.random.Generator) -> tuple[FloatArray, ...]:
    """Original, result, and the original at other seeds."""
    own = features(rng, n, case.d)
    return own, case.change(rng, own), features(rng, n, case.d)


def sets(own: FloatArray, other: FloatArray, most: int = BLOCKS) -> Sets:
    """Both, divided into blocks as a run divides them."""
    most = min(len(own), most)
    return Sets(own, other, blocks_of(len(own), most), blocks_of(len(other), most))


def true_loss(metric: DistributionMetric, case: Case, n: int, sign: float) -> float:
    """The mean loss of sets of that size."""
    rng, losses = np.random.default_rng(n + 1), []
    for _ in range(200):
        own, result, other = drawn(case, n, rng)
        before, after = (metric.estimate(sets(one, other, 2)).whole for one in (own, result))
        losses.append(sign * (before - after))
    return float(np.mean(losses))


def wrong(metric: DistributionMetric, case: Case, n: int, runs: int) -> int:
    """How many of so many runs accept a loss at the budget's edge."""
    sign = 1.0 if metric.higher_is_better else -1.0
    loss = true_loss(metric, case, n, sign)
    rng, accepted = np.random.default_rng(n), 0
    for run in range(runs):
        own, result, other = drawn(case, n, rng)
        units = {
            name: metric.units_of(sets(rows, other))
            for name, rows in ((BASELINE, own), (RESULT, result))
        }
        scores = Scores(units, "original", n, blocks=True)
        budget = Budget("edge", loss, relative=False)
        accepted += judge(metric, scores, budget, method="bound", seed=run).met
    return accepted


def main() -> None:
    """Simulate and print; the exit code tells whether every rate holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--metric", default="fid")
    parser.add_argument("--sizes", default=SIZES)
    options = parser.parse_args()
    sizes = [int(n) for n in options.sizes.split(",")]
    found = find_metric(options.metric)
    assert isinstance(found, DistributionMetric), f"{options.metric} is of samples"
    metric = found.within(FeatureSpace(lambda array: {"y": array}, "as they are"))
    most = int(binom.ppf(0.99, options.runs, ALLOWED))
    print(f"{options.metric}: accepted at the budget's edge, of {options.runs}; 5 % are allowed")
    held = True
    for case in CASES:
        fitting = [n for n in sizes if n >= metric.fewest(case.d)]
        counts = [wrong(metric, case, n, options.runs) for n in fitting]
        held = held and max(counts, default=0) <= most
        for n, count in zip(fitting, counts, strict=True):
            verdict = " NO" if count > most else ""
            print(f"{case.name:<18} n = {n:<5} {100 * count / options.runs:.1f} %{verdict}")
    sys.exit(not held)


if __name__ == "__main__":
    main()
