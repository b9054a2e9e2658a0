"""Plans as JSON and arrays, to be kept in a cache; `Plan.save` writes files for people."""

from collections.abc import Mapping
from typing import Any

from compressor.graph.tensors import Array
from compressor.plan.plan import GraphPlan, Plan


def stored_plan(plans: Mapping[str, GraphPlan]) -> tuple[Any, dict[str, Array]]:
    """Plans by name as JSON, and the weights that they have."""
    whole = Plan(target="", seed=0, graphs=dict(plans))
    return whole.model_dump(mode="json"), whole.weights


def plan_of(document: Any, arrays: Mapping[str, Array]) -> dict[str, GraphPlan]:
    """What `stored_plan` gave.

    Raises:
        ValueError: It is no such document (pydantic's ValidationError is one).
    """
    whole = Plan.model_validate(document)
    if whole.take(arrays) is not None:
        raise ValueError("weights of another plan")
    return dict(whole.graphs)
