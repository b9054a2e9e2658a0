"""How often a budget is accepted wrongly: the true loss is at its edge, where 5 % are allowed.

    python benchmarks/budget.py [--runs 1000]

Simulates the scores of an original and a result, and takes the decision that a run takes on its
confirming samples. Ends with 1 where the rate is above 5 % by more than chance (one-sided binomial
test at 1 %).
"""

import argparse
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from compressor.evaluation.acceptance import judge
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT, FloatArray, Scores
from compressor.recipe.budget import parse_budget

Draw = Callable[[np.random.Generator, int], tuple[FloatArray, FloatArray]]
ALLOWED = 0.05


@dataclass(frozen=True)
class Case:
    """Scores of a metric whose true loss is exactly what the budget allows."""

    name: str
    metric: str
    budget: str
    draw: Draw


def hits(accuracy: float, loss: float, gained: float) -> Draw:
    """An accuracy that falls by `loss`, where a share `gained` of samples becomes right."""

    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        before = rng.random(n) < accuracy
        flip = rng.random(n)
        lost = before & (flip < (loss + gained) / accuracy)
        won = ~before & (flip < gained / (1 - accuracy))
        return before.astype(float), ((before & ~lost) | won).astype(float)

    return draw


def cosines(loss: float, shape: float, *, gamma: bool) -> Draw:
    """1 - cosine gamma distributed, or lognormal, with `loss` as its mean."""

    def draw(rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
        if gamma:
            losses = rng.gamma(shape, loss / shape, n)
        else:
            losses = rng.lognormal(math.log(loss) - shape**2 / 2, shape, n)
        return np.ones(n), 1 - losses

    return draw


CASES = (
    Case("accuracy 87 %, 1% relative, few gained", "accuracy", "1%", hits(0.87, 0.0087, 0.002)),
    Case("accuracy 87 %, 1% relative, many gained", "accuracy", "1%", hits(0.87, 0.0087, 0.02)),
    Case("accuracy 60 %, 5% relative", "accuracy", "5%", hits(0.60, 0.03, 0.01)),
    Case("accuracy 87 %, 2pt", "accuracy", "2pt", hits(0.87, 0.02, 0.005)),
    Case("cosine, 1%, lognormal σ 0.5", "cosine", "1%", cosines(0.01, 0.5, gamma=False)),
    Case("cosine, 1%, lognormal σ 1", "cosine", "1%", cosines(0.01, 1.0, gamma=False)),
    Case("cosine, 1%, exponential", "cosine", "1%", cosines(0.01, 1.0, gamma=True)),
    Case("cosine, 1%, gamma 0.5", "cosine", "1%", cosines(0.01, 0.5, gamma=True)),
)
SIZES = (30, 100, 300, 1000)


def wrong(case: Case, n: int, runs: int) -> int:
    """How many of so many runs accept."""
    metric, budget = find_metric(case.metric), parse_budget(case.budget)
    rng = np.random.default_rng(n)
    accepted = 0
    for run in range(runs):
        before, after = case.draw(rng, n)
        units = {BASELINE: before[:, None], RESULT: after[:, None]}
        scores = Scores(units, "labels", n)
        accepted += judge(metric, scores, budget, method="bound", seed=run).met
    return accepted


def main() -> None:
    """Simulate and print; the exit code tells whether every rate holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    most = int(binom.ppf(0.99, runs, ALLOWED))
    title = f"Accepted at the budget's edge, of {runs} runs; at most 5 % are allowed"
    table = Table("scores", *(f"n = {n}" for n in SIZES), title=title)
    held = True
    for case in CASES:
        counts = [wrong(case, n, runs) for n in SIZES]
        held = held and max(counts) <= most
        table.add_row(
            case.name, *(f"{100 * c / runs:.1f} %{' NO' if c > most else ''}" for c in counts)
        )
    Console().print(table)
    sys.exit(not held)


if __name__ == "__main__":
    main()
