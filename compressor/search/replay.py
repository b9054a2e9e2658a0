"""Carries out the plan of an earlier run."""

from dataclasses import replace
from functools import partial

from compressor.plan.plan import GraphPlan
from compressor.plan.realize import (
    baseline_graph,
    decided_graph,
    plain_graph,
    realize,
    require_same_graph,
)
from compressor.quantization.remainder import REFERENCE
from compressor.results.effects import weight_effect
from compressor.search.attention import replayed_attention
from compressor.search.baseline import folded, started
from compressor.search.candidate import Outcome
from compressor.search.exits import replayed_exits
from compressor.search.pruning.steps import checked_feeds
from compressor.search.pruning.summary import planned
from compressor.search.session import Session


def replay(session: Session, plan: GraphPlan) -> Outcome:
    """Carry out an earlier run's decisions without searching or calibrating.

    Raises:
        RecipeError: The plan belongs to another graph.
    """
    captured = session.prepared.model
    require_same_graph(captured, plan)
    plain, folding = folded(session)
    baseline = baseline_graph(captured, plain, plan)
    start, pruning = started(baseline, plan, (folding,)), None
    with session.stage("replay the plan") as stage:
        plain, grouping = plain_graph(baseline, plan, partial(checked_feeds, session))
        if plan.prune is not None and grouping is not None:
            pruning = planned(plan.prune, grouping, plain)
        graph = decided_graph(plain, plan, session.target)
        shipped = realize(graph, plan, session.target)
        stage.changed = _carried_out(plan)
        stage.notices = [] if plan.half is None else [REFERENCE]
        stage.effects.append(weight_effect(baseline, shipped))
    reason = "decided by the plan that was replayed"
    found = start.then(stage.record, reason=reason, plain=plain, graph=graph, shipped=shipped)
    return replace(
        found,
        pruning=pruning,
        attention=replayed_attention(plan),
        exits=replayed_exits(plan),
    )


def _carried_out(plan: GraphPlan) -> dict[str, int]:
    sparse = {} if plan.sparse is None else {"2:4 sparse layers": len(plan.sparse.layers)}
    if plan.stored is None:
        return {"integer nodes": len(plan.quantized), **sparse}
    return {"nodes with weights in fewer bits": len(plan.stored.nodes)}
