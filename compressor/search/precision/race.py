"""What becomes of a quantized graph: raced against float, and kept where it pays."""

import time
from dataclasses import replace

import onnx_ir as ir

from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize, with_integers
from compressor.quantization.static import StaticChoice
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.measurements import LatencyResult
from compressor.results.precision import WORDS
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Candidate
from compressor.search.candidate import Decided, Quantized, Raced, speed_effects
from compressor.search.precision.budget_loop import Stepping, Trial
from compressor.search.session import Bench


def without_budget(
    bench: Bench, decided: Decided, plan: GraphPlan, chosen: StaticChoice
) -> Decided:
    """Keep 8 bits where they are faster in the deciding configuration."""
    started = time.perf_counter()
    graph = decided.graph
    with bench.progress.stage("quantize"):
        quantized = realize(graph, plan, bench.target)
    with bench.progress.stage("decide"):
        race = bench.race(decided.plain, quantized, seconds=bench.recipe.measure.seconds)
    words = WORDS[plan.ship]
    kept, reason = _decision(
        race, bench, words, decided.plain, quantized, favoured=decided.favours_integer
    )
    record = _record(plan, chosen, race, kept, reason, time.perf_counter() - started)
    effects = (weight_effect(graph, quantized), *speed_effects(race))
    record = record.model_copy(update={"effects": effects})
    candidate = Candidate(
        name=words,
        shipped=kept,
        reason=reason,
        latency=race,
        integer_nodes=len(plan.quantized),
    )
    decided = replace(
        decided,
        reason=reason,
        records=(*decided.records, record),
        candidates=(candidate,),
        quantized=Quantized(
            with_integers(graph, plan, bench.target), plan, chosen, decided.float_reasons
        ),
    )
    if not kept:
        return decided
    return replace(
        decided,
        shipped=quantized,
        plan=plan,
        raced=None if race is None else Raced(decided.plain, quantized, race),
    )


def within_budget(
    search: Stepping, undecided: Decided, record: StageRecord, choice: StaticChoice
) -> Decided:
    """What the search found, if it is faster than float; else float."""
    best, bench = search.best, search.bench
    decided = replace(
        undecided,
        records=(*undecided.records, record),
        candidates=tuple(
            trial.candidate(shipped=search.interrupted and trial is best) for trial in search.trials
        ),
        interrupted=search.interrupted,
    )
    if best is None:
        ended = f"{search.ended} before any" if search.ended else "in the search, no"
        refused = with_integers(undecided.graph, search.whole, bench.target)
        return replace(
            decided,
            reason=f"{ended} {WORDS[search.whole.ship]} graph kept the budget: float ships",
            quantized=Quantized(refused, search.whole, choice, undecided.float_reasons),
        )
    quantized = realize(undecided.graph, best.plan, bench.target)
    reasons = undecided.float_reasons | dict.fromkeys(
        best.floats, "as integer it cost more quality than the budget allows"
    )
    plain = with_integers(undecided.graph, best.plan, bench.target)
    decided = replace(decided, quantized=Quantized(plain, best.plan, choice, reasons))
    chosen = replace(decided, shipped=quantized, plan=best.plan, float_reasons=reasons)
    if search.interrupted:
        return replace(chosen, reason=f"{best.name}: the best so far when it was interrupted")
    started = time.perf_counter()
    try:
        with bench.progress.stage("decide"):
            race = bench.race(undecided.plain, quantized, seconds=bench.recipe.measure.seconds)
    except KeyboardInterrupt:
        reason = f"{best.name}: interrupted before its speed was compared"
        return replace(chosen, reason=reason, interrupted=True)
    kept, reason = _decision(race, bench, WORDS[best.plan.ship], undecided.plain, quantized)
    known = None if race is None or not kept else Raced(undecided.plain, quantized, race)
    raced = replace(
        chosen if kept else decided,
        reason=reason,
        candidates=_with_race(search.trials, best, race, kept, reason),
        raced=known,
    )
    decision = Decision(subject=best.name, verdict="kept" if kept else "reverted", reason=reason)
    compared = StageRecord(
        name="compare speed",
        seconds=time.perf_counter() - started,
        parameters=_speed(race),
        decisions=(decision,),
        effects=(weight_effect(undecided.graph, quantized), *speed_effects(race)),
    )
    return replace(raced, records=(*raced.records, compared))


def _with_race(
    trials: list[Trial], best: Trial, race: LatencyResult | None, kept: bool, reason: str
) -> tuple[Candidate, ...]:
    """All that was tried, the chosen one with its speed."""
    shown = []
    for trial in trials:
        candidate = trial.candidate(shipped=kept and trial is best)
        if trial is best:
            told = f"{trial.reason}; {reason}"
            candidate = candidate.model_copy(update={"latency": race, "reason": told})
        shown.append(candidate)
    return tuple(shown)


def _decision(
    race: LatencyResult | None,
    bench: Bench,
    words: str,
    *models: ir.Model,
    favoured: bool = False,
) -> tuple[bool, str]:
    """Whether 8 bits ship, and why; where nothing can be timed they do."""
    if race is None:
        return True, f"{words} as asked for, speed unproven: {bench.untimed(*models)}"
    keep_slower = bench.recipe.quantize.keep_slower
    return _verdict(race, words, keep_slower=keep_slower, favoured=favoured)


def _verdict(
    race: LatencyResult, words: str = "INT8", *, keep_slower: bool, favoured: bool = False
) -> tuple[bool, str]:
    measured = (
        f"{words} ran at {ratio(race.speed)} the speed of float "
        f"({ratio_interval(race.ends)}) at {configuration(race.config)}"
    )
    found = (
        "no decision, as the interval is too wide" if race.verdict == "undecided" else race.verdict
    )
    if race.verdict == "faster":
        return True, f"{measured}: it pays"
    if favoured and race.verdict != "slower":
        return True, f"{measured}: {found}, kept as it was faster on the whole graph"
    if keep_slower:
        return True, f"{measured}: {found}, kept because of --keep-slower"
    return False, f"{measured}: {found}, so it was reverted (--keep-slower keeps it)"


def _speed(race: LatencyResult | None) -> dict[str, float]:
    return {} if race is None else {"ratio": race.speed, "rounds": race.rounds}


def _record(
    plan: GraphPlan,
    chosen: StaticChoice,
    race: LatencyResult | None,
    kept: bool,
    reason: str,
    seconds: float,
) -> StageRecord:
    return StageRecord(
        name="quantize",
        seconds=seconds,
        parameters={
            "cpu": plan.cpu,
            "weight_bits": plan.weight_bits,
            **_speed(race),
        },
        changed={"integer nodes": len(plan.quantized), "Q/DQ values": len(chosen.ranges)},
        decisions=(
            Decision(
                subject=WORDS[plan.ship], verdict="kept" if kept else "reverted", reason=reason
            ),
        ),
    )
