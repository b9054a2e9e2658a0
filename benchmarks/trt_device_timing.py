"""Engines timed in turn in one process, as `trt_device.py` does it on a GPU."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from compressor.evaluation.pairing import FloatArray, estimate

TURN, LEAST_ROUNDS, MOST_ROUNDS = 10, 20, 200
"""Inferences of a turn, of which the median counts, and turns that each engine is given."""
SECONDS = 2.0
Timed = Callable[[], float]
"""Runs once; the milliseconds that count."""


def interleaved(
    runs: Sequence[Timed], *, turn: int = TURN, seconds: float = SECONDS
) -> tuple[FloatArray, FloatArray]:
    """Milliseconds that count, and that passed, of each run in each round, in alternating order.

    A turn begins with an inference that is not counted: the caches hold the other engine.
    """
    for run in runs:
        until = time.perf_counter() + seconds / 10  # clocks rise, and what is compiled late is
        while time.perf_counter() < until:
            run()
    counted: list[list[float]] = []
    passed: list[list[float]] = []
    until, order = time.perf_counter() + seconds, list(range(len(runs)))
    while len(counted) < LEAST_ROUNDS or (
        len(counted) < MOST_ROUNDS and time.perf_counter() < until
    ):
        medians = [(0.0, 0.0)] * len(runs)
        for index in order:
            runs[index]()
            times = [one_of(runs[index]) for _ in range(turn)]
            medians[index] = (
                float(np.median([gpu for gpu, _ in times])),
                float(np.median([wall for _, wall in times])),
            )
        counted.append([gpu for gpu, _ in medians])
        passed.append([wall for _, wall in medians])
        order.reverse()
    return np.array(counted).T, np.array(passed).T


def one_of(run: Timed) -> tuple[float, float]:
    """Milliseconds that count, and that passed."""
    began = time.perf_counter()
    counted = run()
    return counted, 1000 * (time.perf_counter() - began)


def figures(counted: FloatArray, passed: FloatArray) -> dict[str, Any]:
    """Medians of the first run, and its speed over the second where there is one."""
    told: dict[str, Any] = {
        "milliseconds": float(np.median(counted[0])),
        "wall_milliseconds": float(np.median(passed[0])),
    }
    if len(counted) > 1:
        found = estimate(np.log(counted[1] / counted[0]), 0.0)
        told |= {"base_milliseconds": float(np.median(counted[1])), "ratio": found.ratio}
        told["interval"] = found.interval
    return told
