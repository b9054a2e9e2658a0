"""Corrected biases of a plan, and whether the outputs gain by them."""

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.plan import GraphPlan
from compressor.quantization.bias import correct, stored
from compressor.quantization.replay import decibels, score
from compressor.quantization.static import quantize_static
from compressor.realize import planned_policy
from compressor.records import Decision, StageRecord
from compressor.search.bench import Bench
from compressor.search.sensing import output_energies

MEANS = 64
"""Samples whose mean corrects biases without being asked to, at most; as many others judge."""
GAIN = 0.05
"""Signal to noise at the outputs, in dB, that corrections must gain to be kept."""


def corrections(
    bench: Bench,
    model: ir.Model,
    plan: GraphPlan,
    data: CalibrationSet,
    expired: Callable[[], bool] = lambda: False,
) -> dict[str, FloatArray]:
    """What gives each channel of an integer layer the mean that it has in float.

    Args:
        bench: The target, and how to run.
        model: The float graph.
        plan: Its integer nodes and their ranges.
        data: The samples whose mean is taken.
        expired: Asked before each pass whether the time is over; then there are none.
    """
    options = bench.recipe.quantize
    policy = replace(planned_policy(plan, bench.target), bias="float")
    simulated = quantize_static(
        model, plan.integer, plan.ranges, policy, weight_bits=plan.weight_bits
    )
    with bench.progress.stage("correct biases", total=len(plan.integer)) as advance:
        found = correct(
            model,
            simulated,
            plan.integer,
            data,
            batch=options.batch,
            memory=options.memory,
            expired=expired,
            advance=advance,
        )
    return found or {}


def with_corrections(
    bench: Bench, model: ir.Model, plan: GraphPlan, data: CalibrationSet
) -> tuple[GraphPlan, tuple[StageRecord, ...]]:
    """The plan with corrected biases where the outputs gain by them on samples that gave none.

    Args:
        bench: The target, and how to run.
        model: The float graph.
        plan: As it is.
        data: Calibration samples; one alone corrects nothing.
    """
    if not plan.integer or len(data) < 2:
        return plan, ()
    started = time.perf_counter()
    used, held = (half.take(MEANS) for half in data.split(0.5, bench.recipe.seed))
    found = corrections(bench, model, plan, used)
    if not found:
        return plan, ()
    corrected = plan.model_copy(update={"bias": stored(found)})
    with bench.target.open(model, threads=0, timed=False) as original:
        before, after = (
            output_energies(bench, model, original, one, held) for one in (plan, corrected)
        )
    ratios = [_at_outputs(energies) for energies in (before, after)]
    kept = ratios[1] - ratios[0] >= GAIN
    decision = Decision(
        subject="biases",
        verdict="corrected" if kept else "left alone",
        reason=f"{ratios[0]:.2f} dB of signal to noise at the outputs, {ratios[1]:.2f} with the "
        f"biases of {len(found)} layers corrected, on {len(held)} other samples",
    )
    record = StageRecord(
        name="correct biases",
        seconds=time.perf_counter() - started,
        parameters={"samples": len(used)},
        changed={"layers": len(found) if kept else 0},
        decisions=(decision,),
    )
    return corrected if kept else plan, (record,)


def _at_outputs(energies: FloatArray) -> float:
    if not np.isfinite(energies).all():
        return -np.inf
    return score([decibels(*energies.T)])
