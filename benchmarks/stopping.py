"""How often the interval of a race holds the true ratio, though the race ends when it is narrow.

    python benchmarks/stopping.py [--runs 400]

Simulates rounds of two models in turn and takes the decisions of a race on one thread: looks at
`rounds.LOOKS` seconds, and the end as soon as the interval is narrow enough. A round's log ratio is
the truth, a wander that lasts for seconds, as caches and clocks make it, and noise that is
correlated from round to round and has outliers, of the sizes seen on an idle machine and beside
four others that burn. Ends with 1 where by more than chance (one-sided binomial test at 1 %) fewer
than 95 % hold the truth, or more than 5 % find a difference of a model from itself.
"""

import argparse
import math
import sys
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import binom

from compressor.evaluation.latency import verdict
from compressor.evaluation.pairing import Estimate, FloatArray, estimate
from compressor.evaluation.rounds import LOOKS, WANTED_ROUNDS

WRONG = 0.05
SECONDS = 4.0


@dataclass(frozen=True)
class Machine:
    """What happens to ratios.

    Attributes:
        noise: Standard deviation of a round's log ratio.
        lag: Its correlation from a round to the next.
        wander: Standard deviation of what lasts.
        lasts: Seconds that it lasts.
        outliers: Share of rounds that are off by up to a half.
        foreign: The share of the machine that others take.
    """

    name: str
    noise: float
    lag: float
    wander: float
    lasts: float
    outliers: float
    foreign: float


MACHINES = (
    Machine("idle", 0.01, 0.1, 0.005, 2.0, 0.002, 0.05),
    Machine("half busy", 0.03, 0.2, 0.011, 2.0, 0.02, 0.5),
    Machine("four burners", 0.06, 0.3, 0.020, 2.0, 0.05, 0.9),
)
MODELS = {"0.6 ms": 0.9e-3, "6 ms": 9e-3, "50 ms": 70e-3}
"""Seconds of a round."""
RATIOS = {"itself": 1.0, "1.03x": 1.03, "3x": 3.0}


def rounds(machine: Machine, ratio: float, each: float, rng: np.random.Generator) -> FloatArray:
    """Log ratios of the rounds of a whole race."""
    count = max(WANTED_ROUNDS, min(4000, int(SECONDS / each)))
    shocks = rng.standard_normal((2, count))
    noise, slow = np.empty(count), np.empty(count)
    keep = math.exp(-each / machine.lasts)
    noise[0], slow[0] = shocks[:, 0]
    for i in range(1, count):
        noise[i] = machine.lag * noise[i - 1] + math.sqrt(1 - machine.lag**2) * shocks[0, i]
        slow[i] = keep * slow[i - 1] + math.sqrt(1 - keep**2) * shocks[1, i]
    odd = rng.random(count) < machine.outliers
    off = np.where(odd, rng.uniform(-0.5, 0.5, count), 0.0)
    found: FloatArray = math.log(ratio) + machine.noise * noise + machine.wander * slow + off
    return found


def raced(logs: FloatArray, each: float, foreign: float) -> tuple[Estimate, float]:
    """The estimate at the look that ends a race, and its seconds."""
    for look in LOOKS:
        seen = logs[: int(look / each)]
        if look < SECONDS and len(seen) >= WANTED_ROUNDS:
            found = estimate(seen, foreign)
            if found.is_enough:
                return found, look
    return estimate(logs, foreign), len(logs) * each


def main() -> None:
    """Simulate and print; the exit code tells whether every rate holds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=400)
    runs = parser.parse_args().runs
    least, most = int(binom.ppf(0.01, runs, 1 - WRONG)), int(binom.ppf(0.99, runs, WRONG))
    table = Table("machine", "model", "against", "holds the truth", "false verdicts", "s to stop",
                  title=f"{runs} races each")  # fmt: skip
    held = True
    for machine in MACHINES:
        for model, each in MODELS.items():
            for name, ratio in RATIOS.items():
                rng = np.random.default_rng(0)
                races = [
                    raced(rounds(machine, ratio, each, rng), each, machine.foreign)
                    for _ in range(runs)
                ]
                right = sum(one.low <= math.log(ratio) <= one.high for one, _ in races)
                told = [verdict(one.interval) for one, _ in races]
                false = sum(one in ("faster", "slower") for one in told) if ratio == 1 else 0
                held = held and right >= least and false <= most
                seconds = float(np.mean([seconds for _, seconds in races]))
                cells = (f"{100 * right / runs:.1f} %", f"{100 * false / runs:.1f} %")
                table.add_row(machine.name, model, name, *cells, f"{seconds:.2f}")
    Console().print(table)
    sys.exit(not held)


if __name__ == "__main__":
    main()
