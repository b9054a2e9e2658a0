"""What each region costs in quality, alone in each precision."""

from collections.abc import Callable, Mapping

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.evaluation.fidelity import sums_of, total
from compressor.evaluation.metrics.base import BASELINE, RESULT, Outputs, predictions
from compressor.evaluation.outputs import evened, is_floating, paired_outputs, sample_axis
from compressor.evaluation.views import only
from compressor.graph.tensors import Array
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize
from compressor.search.precision.regions import FLOAT, Mix
from compressor.search.session import Session
from exporters.base import Runner

SAMPLE = 32
"""Samples whose outputs are compared."""


def output_energies(
    session: Session, model: ir.Model, original: Runner, plan: GraphPlan, data: CalibrationSet
) -> FloatArray:
    """Energy of the original's outputs and of a plan's error: of each sample, or of each call.

    The output that decides counts; without one all floating outputs that are no states, and of
    those whose lengths differ what both have and what one lacks.
    """
    batch = session.prepared.fixed_batch or session.recipe.quantize.batch
    candidate = realize(model, plan, session.target)
    with session.target.open(candidate, threads=0, timed=False) as result:
        runners = {BASELINE: original, RESULT: result}
        names = _watched(session, original)
        rows = [
            _energies(outputs, len(step))
            for step, outputs in predictions(only(runners, names), data, batch)
        ]
    return np.concatenate(rows)


def _watched(session: Session, original: Runner) -> list[str]:
    """Outputs by whose error plans are compared."""
    yardstick = session.prepared.yardstick
    own = [spec.name for spec in original.outputs if is_floating(spec.dtype)]
    if yardstick is None:
        return own or [spec.name for spec in original.outputs]
    if yardstick.primary in own:
        return [yardstick.primary]
    return [name for name in own if name in yardstick.answers] or own or list(yardstick.answers)


def _energies(outputs: Mapping[str, Outputs], samples: int) -> FloatArray:
    """Signal and error of one call: (samples, 2), or (1, 2) where outputs belong to no sample."""
    first, second = outputs[BASELINE], outputs[RESULT]
    by_sample = samples > 1 and all(
        is_floating(array.dtype) and sample_axis(array, samples) is not None
        for array in first.values()
    )
    if by_sample:
        pairs = list(paired_outputs(first, second, samples, "sqnr"))
    else:
        evens = (evened(first[name], second[name]) for name in first if name in second)
        pairs = [(one.reshape(1, -1), other.reshape(1, -1)) for one, other in evens]
    sums = total([sums_of(*_as_numbers(one, other)) for one, other in pairs])
    return np.stack([sums.reference, sums.error], axis=1)


def _as_numbers(one: Array, other: Array) -> tuple[Array, Array]:
    """Floats as they are; decisions as ones, and zeros where the other differs."""
    if is_floating(one.dtype):
        return one, other
    return np.ones(one.shape), (one == other).astype(np.float64)


def noise(energies: FloatArray) -> float:
    """Normalized mean squared error Σ (y - y_q)² / Σ y² of all samples; infinite, never NaN."""
    signal, error = energies.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = float(error / signal)
    return found if np.isfinite(found) else (0.0 if error == 0 else np.inf)


def damages(
    session: Session,
    mix: Mix,
    base: GraphPlan,
    data: CalibrationSet,
    expired: Callable[[], bool] = lambda: False,
) -> FloatArray | None:
    """The error at the outputs that each region alone causes in each precision, as `noise`.

    All others are float, so that errors of earlier regions do not count as its own.

    Args:
        session: The target.
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
        session.progress.stage("rank layers", total=len(cases)) as advance,
        session.target.open(mix.model, threads=0, timed=False) as original,
    ):
        for region, choice in cases:
            if expired():
                return None
            alone = [FLOAT] * len(mix.regions)
            alone[region] = int(choice)
            plan = mix.plan(alone, base)
            found[region, choice] = noise(
                output_energies(session, mix.model, original, plan, sample)
            )
            advance(1)
    return found


def told(value: float, name: str) -> str:
    """One damage, for people."""
    decibels = "no" if not np.isfinite(value) or value <= 0 else f"{-10 * np.log10(value):.1f}"
    return f"{decibels} dB of signal to noise as {name}"
