"""What each region costs in quality, alone in each precision."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.plan import GraphPlan
from compressor.realize import realize
from compressor.search.bench import Bench
from compressor.search.mixing import FLOAT, Mix
from exporters.base import Runner

SAMPLE = 32
"""Samples whose outputs are compared."""


def output_energies(
    bench: Bench, model: ir.Model, original: Runner, plan: GraphPlan, data: CalibrationSet
) -> FloatArray:
    """Energy of the original's outputs and of a plan's error, (samples, 2)."""
    batch = bench.prepared.fixed_batch or bench.recipe.quantize.batch
    candidate = realize(model, plan, bench.target)
    with bench.target.open(candidate, threads=0, timed=False) as result:
        runners = {BASELINE: original, RESULT: result}
        return find_metric("sqnr").evaluate(runners, data, batch).units[RESULT]


def noise(energies: FloatArray) -> float:
    """Normalized mean squared error Σ (y - y_q)² / Σ y² of all samples; infinite, never NaN."""
    signal, error = energies.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(error / signal)
    return found if np.isfinite(found) else (0.0 if error == 0 else np.inf)


def damages(
    bench: Bench,
    mix: Mix,
    base: GraphPlan,
    data: CalibrationSet,
    expired: Callable[[], bool] = lambda: False,
) -> FloatArray | None:
    """The error at the outputs that each region alone causes in each precision, as `noise`.

    All others are float, so that errors of earlier regions do not count as its own.

    Args:
        bench: The target.
        mix: The regions.
        base: The plan whose ranges and biases are used.
        data: Samples that calibration did not use.
        expired: Asked before each; where it says so there is no answer.

    Returns:
        (regions, choices); infinite where a region does not have that choice, or gives no finite
        output. None where time ran out.
    """
    found = np.full(mix.possible.shape, np.inf)
    found[:, FLOAT] = 0.0
    cases = [(r, c) for r, c in zip(*np.nonzero(mix.possible), strict=True) if c != FLOAT]
    sample = data.take(SAMPLE)
    with (
        bench.progress.stage("rank layers", total=len(cases)) as advance,
        bench.target.open(mix.model, threads=0, timed=False) as original,
    ):
        for region, choice in cases:
            if expired():
                return None
            alone = [FLOAT] * len(mix.regions)
            alone[region] = int(choice)
            plan = mix.plan(alone, base)
            found[region, choice] = noise(output_energies(bench, mix.model, original, plan, sample))
            advance(1)
    return found


def told(value: float, name: str) -> str:
    """One damage, for people."""
    decibels = "no" if not np.isfinite(value) or value <= 0 else f"{-10 * np.log10(value):.1f}"
    return f"{decibels} dB of signal to noise as {name}"
