"""Carries out a plan: the only place where decisions become a model."""

import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.fingerprint import fingerprint
from compressor.plan import GraphPlan
from compressor.quantization.bias import restored
from compressor.quantization.static import quantize_static
from exporters.base import QuantPolicy, Target


def baseline_graph(captured: ir.Model, folded: ir.Model, plan: GraphPlan) -> ir.Model:
    """The float graph that a plan builds on."""
    return captured if plan.baseline == "captured" else folded


def realize(baseline: ir.Model, plan: GraphPlan, target: Target) -> ir.Model:
    """The graph that the plan ships; `baseline` stays as it is.

    Args:
        baseline: The float graph that the plan builds on (`baseline_graph`).
        plan: What was decided.
        target: Whose policy places Q/DQ.

    Raises:
        RecipeError: The plan names nodes or values that the graph does not have.
    """
    if plan.ship == "float":
        return baseline
    return quantize_static(
        baseline,
        plan.integer,
        plan.ranges,
        planned_policy(plan, target),
        weight_bits=plan.weight_bits,
        bias=restored(plan.bias),
    )


def planned_policy(plan: GraphPlan, target: Target) -> QuantPolicy:
    """The target's policy with the schemes that the plan decided on."""
    return target.policy(plan.cpu).with_schemes(
        activation=plan.activation, symmetric=plan.symmetric, granularity=plan.granularity
    )


def require_same_graph(captured: ir.Model, plan: GraphPlan) -> None:
    """Refuse a plan that was made for another model.

    Raises:
        RecipeError: The fingerprints differ.
    """
    found = fingerprint(captured)
    if found != plan.graph:
        raise RecipeError(
            f"the plan was made for the graph {plan.graph[:12]}, this model's is {found[:12]}",
            hint="Replay a plan with the checkpoint, inputs and versions that it was made with, "
            "or run without --plan to make a new one.",
        )
