"""What is done to a graph before and after INT8 is chosen for it, where that pays.

Before, the spread of channels moves into weights, and additions in front of norms are kept from
being fused with them. After, embeddings are stored in integers.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import policy_of, realize, with_tables
from compressor.plan.storage import StoragePlan, StoredMatrix, arrays_of
from compressor.quantization import weight_only
from compressor.quantization.bias import stored
from compressor.quantization.equalization import choose_equalization
from compressor.quantization.smoothing import choose_divisors, smoothed
from compressor.quantization.weight_only import StoringOptions
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.measurements import LatencyResult
from compressor.results.records import Decision, StageRecord
from compressor.search.acceptance import Judging
from compressor.search.candidate import Decided, speed_effects
from compressor.search.session import Bench

LEAST = 1 << 16
"""Numbers of an embedding from which its size matters."""

Chooser = Callable[..., tuple[dict[str, FloatArray], StageRecord]]
Ways = tuple[tuple[str, Chooser], ...]
SMOOTHING: Final[tuple[str, Chooser]] = ("smooth activations", choose_divisors)
EQUALIZING: Final[tuple[str, Chooser]] = ("equalize layers", choose_equalization)


def with_spread_moved(
    bench: Bench,
    start: Decided,
    data: CalibrationSet,
    ways: Ways = (EQUALIZING, SMOOTHING),
) -> Decided:
    """With the spread of channels in weights where that lowers the error.

    Args:
        bench: For the target's policy.
        start: The float graph that was decided on.
        data: Calibration samples.
        ways: What is tried, in order; each sees what those before it did.
    """
    options = bench.recipe.quantize
    policy = policy_of(bench.target, options)
    divisors: dict[str, FloatArray] = {}
    records: tuple[StageRecord, ...] = ()
    graph = start.graph
    for words, choose in ways:
        with bench.progress.stage(words):
            found, record = choose(graph, data, policy, batch=options.batch, memory=options.memory)
        if record.decisions:
            records += (record,)
        if found:
            divisors |= found
            graph = smoothed(start.graph, divisors)
    start = replace(start, records=(*start.records, *records))
    if not divisors:
        return start
    plan = start.plan.model_copy(update={"smooth": stored(divisors)})
    return replace(start, plan=plan, smoothed=graph)


def with_norms_apart(
    bench: Bench, graph: ir.Model, plan: GraphPlan
) -> tuple[GraphPlan, tuple[StageRecord, ...]]:
    """The plan without the runtime's fusion of additions with norms, where that is faster.

    Both compute the same and take the same room, so that the measured ratio decides, proven or
    not, unless its interval is too wide to mean anything. It comes before what regions take is
    measured, as it changes what there is to gain.

    Args:
        bench: The deciding configuration.
        graph: The float graph.
        plan: With everything integer that can be.
    """
    started = time.perf_counter()
    apart = plan.model_copy(update={"plain_norms": True})
    fused, candidate = (realize(graph, one, bench.target) for one in (plan, apart))
    count = bench.target.keep_norms_plain(fused.clone())
    if count == 0:
        return plan, ()
    with bench.progress.stage("compare fusions"):
        race = bench.race(fused, candidate, seconds=bench.recipe.measure.seconds / 2)
    if race is None:
        return plan, ()
    faster = race.speed > 1 and race.verdict != "undecided"
    decision = Decision(
        subject="additions before norms",
        verdict="kept apart" if faster else "fused",
        reason=f"{ratio(race.speed)} the speed where they are not fused "
        f"({ratio_interval(race.ends)}) at {configuration(race.config)}",
    )
    record = StageRecord(
        name="compare fusions",
        seconds=time.perf_counter() - started,
        changed={"additions": count if faster else 0},
        decisions=(decision,),
        effects=speed_effects(race),
    )
    return (apart if faster else plan), (record,)


def with_small_tables(bench: Bench, found: Decided, judging: Judging | None) -> Decided:
    """INT8 with embeddings in blocks of 8 bits, unless that is slower or breaks the budget."""
    if found.plan.ship != "int8" or found.interrupted or found.plan.half is not None:
        return found
    if "int8-weights" not in bench.target.stores:
        return found
    started, options = time.perf_counter(), bench.recipe.quantize
    how = StoringOptions(
        bits=8, block=options.block, leave=options.leave, tables_only=True, least=LEAST
    )
    with bench.progress.stage("store embeddings"):
        chosen = weight_only.choose(found.shipped, None, how)
    if not chosen.nodes:
        return found
    tables = StoragePlan(
        matrices={name: StoredMatrix.of(form) for name, form in chosen.forms.items()},
        nodes=chosen.nodes,
        arrays=arrays_of(chosen.packed),
    )
    candidate = with_tables(found.shipped, tables)
    with bench.progress.stage("compare embeddings"):
        race = bench.race(found.shipped, candidate, seconds=bench.recipe.measure.seconds / 2)
        refusal = _refusal(bench, candidate, judging)
    if race is None:
        return found
    kept = race.verdict in ("faster", "no significant difference") and refusal is None
    effects = (weight_effect(found.shipped, candidate), *speed_effects(race)) if kept else ()
    record = StageRecord(
        name="store embeddings",
        seconds=time.perf_counter() - started,
        changed={"embeddings in blocks": len(chosen.forms) if kept else 0},
        decisions=(_of_tables(", ".join(chosen.forms), race, refusal, kept=kept),),
        effects=effects,
    )
    found = replace(found, records=(*found.records, record))
    if not kept:
        return found
    plan = found.plan.model_copy(update={"tables": tables})
    return replace(found, shipped=candidate, plan=plan)


def _of_tables(names: str, race: LatencyResult, refusal: str | None, *, kept: bool) -> Decision:
    reason = (
        f"{ratio(race.speed)} the speed with embeddings of 8 bits "
        f"({ratio_interval(race.ends)}) at {configuration(race.config)}"
    )
    return Decision(
        subject=names,
        verdict="8 bits" if kept else "float",
        reason=reason if refusal is None else f"{reason}; {refusal}",
    )


def _refusal(bench: Bench, candidate: ir.Model, judging: Judging | None) -> str | None:
    """Why the budget does not hold with it; None where it does or there is none."""
    if judging is None:
        return None
    judgement, _ = judging.try_out(bench.prepared, bench.target, candidate)
    accepted = judging.accepts(judgement)
    return None if accepted else judging.told(judgement, accepted, "search")
