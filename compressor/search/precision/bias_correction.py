"""Corrected biases of a plan."""

from collections.abc import Callable
from dataclasses import replace

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import planned_policy
from compressor.quantization.bias import correct, stored
from compressor.quantization.static import quantize_static
from compressor.search.session import Session


def corrections(
    session: Session,
    model: ir.Model,
    plan: GraphPlan,
    data: CalibrationSet,
    expired: Callable[[], bool] = lambda: False,
) -> dict[str, FloatArray]:
    """What gives each channel of an integer layer the mean that it has in float.

    Args:
        session: The target, and how to run.
        model: The float graph.
        plan: Its integer nodes and their ranges.
        data: The samples whose mean is taken.
        expired: Asked before each pass whether the time is over; then there are none.
    """
    options = session.recipe.quantize
    policy = replace(planned_policy(plan, session.target), bias="float")
    simulated = quantize_static(
        model,
        plan.integer,
        plan.ranges,
        policy,
        weight_bits=plan.weight_bits,
        rounded=plan.rounded,
    )
    with session.progress.stage("correct biases", total=len(plan.integer)) as advance:
        found = correct(
            model,
            simulated,
            plan.integer,
            data,
            batch=options.batch,
            memory=options.memory,
            integers=not policy.inputs_only,
            expired=expired,
            advance=advance,
        )
    return found or {}


def corrected(
    session: Session,
    model: ir.Model,
    plan: GraphPlan,
    data: CalibrationSet,
    expired: Callable[[], bool] = lambda: False,
) -> GraphPlan:
    """The plan with corrected biases; the plan itself where there are none."""
    found = corrections(session, model, plan, data, expired) if plan.integer else {}
    return plan.model_copy(update={"bias": stored(found)}) if found else plan
