"""Where a run starts: at the faster float graph, or at the plan of an earlier run."""

import time
from typing import Literal

import onnx_ir as ir

from calibration.stats import CalibrationStats
from compressor.folding import fold
from compressor.graph.fingerprint import fingerprint
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import baseline_graph, pruned_graph, realize, require_same_graph
from compressor.pruning.reconstruction.patching import patched
from compressor.quantization.bias import restored
from compressor.quantization.remainder import REFERENCE
from compressor.quantization.smoothing import smoothed
from compressor.results.effects import weight_effect
from compressor.results.format import ratio, ratio_interval
from compressor.results.records import Decision, StageRecord
from compressor.search.candidate import Decided, speed_effects
from compressor.search.pruning.steps import checked_feeds
from compressor.search.pruning.summary import planned
from compressor.search.session import Bench


def undecided(bench: Bench, stats: CalibrationStats | None = None) -> Decided:
    """Fold and choose the faster float graph as the baseline; that is what ships so far.

    Args:
        bench: The captured graph and how to measure.
        stats: Statistics collected earlier, which say what graph they are of.

    Raises:
        DataError: The statistics are of another graph.
    """
    captured = bench.prepared.model
    folded, folding = _fold(bench)
    if stats is None:
        kind, choice = _faster_float(bench, captured, folded)
    else:
        kind, choice = _observed_float(bench, captured, folded, stats), ()
    quantize = bench.recipe.quantize
    plan = GraphPlan(
        graph=fingerprint(captured),
        baseline=kind,
        ship="float",
        cpu=quantize.cpu,
        activation=quantize.activation,
        symmetric=quantize.symmetric,
        granularity=quantize.granularity,
    )
    baseline = baseline_graph(captured, folded, plan)
    return Decided(captured, baseline, baseline, plan, "", {}, (folding, *choice))


def replay(bench: Bench, plan: GraphPlan) -> Decided:
    """Carry out an earlier run's decisions without searching or calibrating.

    Raises:
        RecipeError: The plan belongs to another graph.
    """
    captured = bench.prepared.model
    require_same_graph(captured, plan)
    folded, folding = _fold(bench)
    baseline = baseline_graph(captured, folded, plan)
    started = time.perf_counter()
    pruned, pruning = None, None
    if plan.prune is not None:
        pruned, grouping = pruned_graph(baseline, plan.prune, checked_feeds(bench))
        pruning = planned(plan.prune, grouping, pruned)
    start = baseline if pruned is None else pruned
    if plan.sparse is not None:
        start = patched(start, plan.sparse.weights)
    if plan.smooth:
        start = smoothed(start, restored(plan.smooth))
    shipped = realize(start, plan, bench.target)
    record = StageRecord(
        name="replay the plan",
        seconds=time.perf_counter() - started,
        changed=_carried_out(plan),
        notices=() if plan.half is None else (REFERENCE,),
        effects=(weight_effect(baseline, shipped),),
    )
    reason = "decided by the plan that was replayed"
    return Decided(
        captured,
        baseline,
        shipped,
        plan,
        reason,
        {},
        (folding, record),
        pruned=pruned,
        pruning=pruning,
    )


def _carried_out(plan: GraphPlan) -> dict[str, int]:
    sparse = {} if plan.sparse is None else {"2:4 sparse layers": len(plan.sparse.layers)}
    if plan.stored is None:
        return {"integer nodes": len(plan.quantized), **sparse}
    return {"nodes with weights in fewer bits": len(plan.stored.nodes)}


def _fold(bench: Bench) -> tuple[ir.Model, StageRecord]:
    with bench.progress.stage("fold"):
        prepared = bench.prepared
        batch = prepared.fixed_batch or 2
        return fold(prepared.model, feeds=prepared.feeds(batch, bench.recipe.seed))


def _faster_float(
    bench: Bench, captured: ir.Model, folded: ir.Model
) -> tuple[Literal["captured", "folded"], tuple[StageRecord, ...]]:
    """Keep folding unless it measures slower, which a runtime's own fusions can cause."""
    if folded is captured:
        return "captured", ()
    started = time.perf_counter()
    with bench.progress.stage("choose the baseline"):
        race = bench.race(captured, folded, seconds=bench.recipe.measure.seconds / 2)
    if race is None:
        return "folded", ()
    kind: Literal["captured", "folded"] = "captured" if race.verdict == "slower" else "folded"
    decision = Decision(
        subject="float graph",
        verdict=kind,
        reason=f"folded runs at {ratio(race.speed)} the speed of captured "
        f"({ratio_interval(race.ends)})",
    )
    record = StageRecord(
        name="choose the baseline",
        seconds=time.perf_counter() - started,
        decisions=(decision,),
        effects=speed_effects(race),
    )
    return kind, (record,)


def _observed_float(
    bench: Bench, captured: ir.Model, folded: ir.Model, stats: CalibrationStats
) -> Literal["captured", "folded"]:
    """The float graph that the statistics are of."""
    if stats.origin.graph == fingerprint(captured):
        return "captured"
    stats.require(fingerprint(folded), (), str(bench.recipe.data.stats))
    return "folded"
