"""Refinements of plans that an earlier run made: GPTQ and bias correction take most of a search."""

from collections.abc import Callable

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.plan.kept_plan import plan_of, stored_plan
from compressor.plan.plan import GraphPlan
from compressor.search.keys import (
    cache_of_session,
    data_key,
    graph_key,
    recipe_key,
)
from compressor.search.session import Session
from compressor.system.cache import Entry, array_digest, digest_of
from compressor.system.versions import machine_key

WHAT = "refinements"
_PLAN = "plan"


def refined_once(
    session: Session,
    step: str,
    graph: ir.Model,
    plan: GraphPlan,
    data: CalibrationSet,
    refine: Callable[[], GraphPlan],
    *,
    expired: Callable[[], bool],
) -> GraphPlan:
    """A plan refined by samples, kept or new.

    Args:
        session: What is asked for.
        step: Name of the refinement.
        graph: The float graph.
        plan: What is refined.
        data: The samples.
        refine: Does it; gives the plan itself where there is nothing to refine.
        expired: Whether time is over: what was cut short is not kept.
    """
    cache, asked = cache_of_session(session), recipe_key(session.recipe)
    if not cache.keeps or asked is None:
        return refine()
    key = {
        "step": step,
        "graph": graph_key(graph),
        "plan": _digest(plan),
        "samples": data_key(data),
        "recipe": asked,
        **machine_key(session.target.runtime),
    }
    found = cache.take(WHAT, key, lambda entry: _changed(plan, entry))
    if found is not None:
        return found
    made = refine()
    if expired():
        return made
    changed = [name for name in type(plan).model_fields if _differs(plan, made, name)]
    document, arrays = stored_plan({_PLAN: made}) if changed else (None, {})
    cache.put(WHAT, key, Entry([changed, document], arrays))
    return made


def _changed(plan: GraphPlan, entry: Entry) -> GraphPlan:
    """The plan with what a refinement changed; itself where that was nothing."""
    changed, document = entry.document
    if not changed:
        return plan
    made = plan_of(document, entry.arrays)[_PLAN]
    return plan.model_copy(update={name: getattr(made, name) for name in changed})


def _differs(plan: GraphPlan, made: GraphPlan, name: str) -> bool:
    """Whether a refinement replaced a field: it leaves the others as they are."""
    return getattr(plan, name) is not getattr(made, name)


def _digest(plan: GraphPlan) -> str:
    """All of a plan, with its weights."""
    document, arrays = stored_plan({_PLAN: plan})
    return digest_of(document, {name: array_digest(array) for name, array in arrays.items()})
