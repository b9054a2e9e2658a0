"""Carries out the plan of an earlier run."""

from dataclasses import replace

from compressor.graph.writing import with_weights
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import (
    baseline_graph,
    decided_graph,
    pruned_graph,
    realize,
    require_same_graph,
)
from compressor.pruning.reconstruction.patching import patched
from compressor.quantization.remainder import REFERENCE
from compressor.results.effects import weight_effect
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
        plain = baseline
        if plan.prune is not None:
            plain, grouping = pruned_graph(baseline, plan.prune, checked_feeds(session))
            pruning = planned(plan.prune, grouping, plain)
        if plan.sparse is not None:
            plain = patched(plain, plan.sparse.weights)
        if plan.trained is not None:
            plain = with_weights(plain, plan.trained.weights)
        graph = decided_graph(plain, plan, session.target)
        shipped = realize(graph, plan, session.target)
        stage.changed = _carried_out(plan)
        stage.notices = [] if plan.half is None else [REFERENCE]
        stage.effects.append(weight_effect(baseline, shipped))
    reason = "decided by the plan that was replayed"
    found = start.then(stage.record, reason=reason, plain=plain, graph=graph, shipped=shipped)
    return replace(found, pruning=pruning, exits=replayed_exits(plan))


def _carried_out(plan: GraphPlan) -> dict[str, int]:
    sparse = {} if plan.sparse is None else {"2:4 sparse layers": len(plan.sparse.layers)}
    if plan.stored is None:
        return {"integer nodes": len(plan.quantized), **sparse}
    return {"nodes with weights in fewer bits": len(plan.stored.nodes)}
