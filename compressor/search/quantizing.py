"""Quantizes the float graph that was decided on, and keeps what measures better.

Plans are proposed here and by the steps of the search; `realize` carries them out.
"""

import time
from dataclasses import replace
from pathlib import Path

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.evaluation.results import LatencyResult
from compressor.graph.effects import weight_effect
from compressor.plan import GraphPlan
from compressor.precision import EIGHT_BITS, WORDS
from compressor.quantization.dynamic import choose_dynamic
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from compressor.realize import policy_of, realize, with_integers
from compressor.records import Decision, StageRecord
from compressor.report.format import configuration, ratio, ratio_interval
from compressor.report.schema import Candidate
from compressor.search.bench import Bench
from compressor.search.decided import Decided, Quantized, speed_effects
from compressor.search.halving import with_half
from compressor.search.improving import improved
from compressor.search.judging import Judging
from compressor.search.placing import placed_by_time
from compressor.search.refining import (
    SMOOTHING,
    with_norms_apart,
    with_small_tables,
    with_spread_moved,
)
from compressor.search.stepping import Stepping, Trial
from compressor.search.steps import STEPS
from compressor.search.storing import STORED, with_stored_weights
from exporters.base import QuantPolicy


def with_precision(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None = None,
    judging: Judging | None = None,
) -> Decided:
    """Quantize the float graph that was decided on, and keep that if it pays.

    Args:
        bench: How to measure.
        start: From `undecided`, pruned or not.
        data: Calibration samples.
        stats: What was collected from such samples earlier. Without either the graph stays float,
            unless ranges are found at run time.
        judging: The quality budget; None accepts any quality.

    Raises:
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """
    mode = bench.recipe.quantize.mode
    start = with_half(bench, start, data)
    if mode == "none":
        return replace(start, reason="quantization was switched off (--quantize none)")
    if not bench.target.quantizes:
        return replace(start, reason="nothing was quantized: --precision asks for float")
    if mode in STORED:
        return with_stored_weights(bench, start, data, judging)
    if mode == "int8-dynamic":
        if data is not None:
            start = with_spread_moved(bench, start, data, (SMOOTHING,))
        found = _quantize_dynamically(bench, start, data, judging)
    elif data is None and stats is None:
        words = WORDS[policy_of(bench.target, bench.recipe.quantize).precision]
        reason = f"nothing was quantized: {words} needs calibration data (--calib DATA)"
        return replace(start, reason=reason)
    else:
        if stats is None and data is not None:
            start = with_spread_moved(bench, start, data)
        found = _quantize(bench, start, data, stats, judging)
    if found.plan.ship not in EIGHT_BITS:
        update = {"smooth": {}, "plain_norms": False}
        return replace(found, plan=found.plan.model_copy(update=update))
    return found


def _quantize(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    judging: Judging | None,
) -> Decided:
    """Calibrate, then search within the budget, or without one race all of it."""
    policy = policy_of(bench.target, bench.recipe.quantize)
    chosen = _calibrated(bench, start, data, stats, policy, alternatives=judging is not None)
    decided = replace(
        start,
        float_reasons=dict(chosen.float_reasons),
        records=(*start.records, chosen.record),
    )
    if not (chosen.integer or chosen.dynamic):
        kernels = "integer" if policy.precision == "int8" else WORDS[policy.precision]
        return replace(decided, reason=f"no part of this graph gains from {kernels} kernels")
    plan = start.plan.model_copy(
        update={
            "ship": policy.precision,
            "weight_bits": policy.weight.bits,
            "integer": chosen.integer,
            "dynamic": chosen.dynamic,
            "ranges": dict(chosen.ranges),
        }
    )
    return _decided(bench, decided, plan, data, judging, chosen)


def _quantize_dynamically(
    bench: Bench, start: Decided, data: CalibrationSet | None, judging: Judging | None
) -> Decided:
    """All that can run with ranges found at run time, which takes no calibration."""
    policy = policy_of(bench.target, bench.recipe.quantize)
    chosen = choose_dynamic(start.graph, policy)
    decided = replace(
        start,
        float_reasons=dict(chosen.float_reasons),
        records=(*start.records, chosen.record),
    )
    if not chosen.dynamic:
        return replace(decided, reason="no part of this graph gains from dynamic INT8")
    update = {"ship": "int8", "weight_bits": policy.weight.bits, "dynamic": chosen.dynamic}
    return _decided(bench, decided, start.plan.model_copy(update=update), data, judging, chosen)


def _decided(
    bench: Bench,
    decided: Decided,
    plan: GraphPlan,
    data: CalibrationSet | None,
    judging: Judging | None,
    chosen: StaticChoice,
) -> Decided:
    """What becomes of a plan: searched within the budget, or raced where there is none."""
    if data is None and judging is not None:
        data = judging.search
    plan, records = with_norms_apart(bench, decided.graph, plan)
    placed = placed_by_time(bench, decided.graph, plan, data)
    plan = placed.plan
    decided = replace(
        decided,
        float_reasons=decided.float_reasons | placed.float_reasons,
        records=(*decided.records, *records, *placed.records),
    )
    if judging is None:
        if data is not None:
            plan, records = improved(bench, decided.graph, plan, data)
            decided = replace(decided, records=(*decided.records, *records))
        found = _without_budget(bench, decided, plan, chosen)
        found = with_small_tables(bench, found, None)
        return replace(found, regions=placed.results(found.plan, None))
    assert data is not None, "judging has samples"
    search = Stepping(
        bench,
        judging,
        decided.graph,
        plan,
        data,
        chosen.stats,
        mix=placed.mix,
        times=placed.times,
        named=WORDS[plan.ship],
    )
    found = _within_budget(search, decided, search.run(STEPS), chosen)
    found = with_small_tables(bench, found, judging)
    return replace(found, regions=placed.results(found.plan, search.damage))


def _calibrated(
    bench: Bench,
    start: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    policy: QuantPolicy,
    *,
    alternatives: bool,
) -> StaticChoice:
    """What could run as integer and the ranges there."""
    options = bench.recipe.quantize
    path = bench.recipe.data.stats or Path("the statistics")
    how = CalibrationOptions(
        method=options.ranges,
        batch=options.batch,
        memory=options.memory,
        cache=bench.recipe.data.cache,
        stats=None if stats is None else (stats, path),
        seed=bench.recipe.seed,
        alternatives=alternatives,
        notices=bench.target.cautions(policy),
    )
    total = None if data is None or stats is not None else len(data)
    with bench.progress.stage("calibrate", total=total) as advance:
        return calibrate(start.graph, data, policy, how, advance=advance)


def _without_budget(
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
    kept, reason = _decision(race, bench, words, favoured=decided.favours_integer)
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
    return replace(decided, shipped=quantized, plan=plan) if kept else decided


def _within_budget(
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
        ended = f"{search.ended} before" if search.ended else "in the search,"
        refused = with_integers(undecided.graph, search.whole, bench.target)
        return replace(
            decided,
            reason=f"{ended} no {WORDS[search.whole.ship]} graph kept the budget: float ships",
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
    kept, reason = _decision(race, bench, WORDS[best.plan.ship])
    raced = replace(
        chosen if kept else decided,
        reason=reason,
        candidates=_with_race(search.trials, best, race, kept, reason),
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
    race: LatencyResult | None, bench: Bench, words: str, *, favoured: bool = False
) -> tuple[bool, str]:
    """Whether 8 bits ship, and why; where nothing can be timed they do."""
    if race is None:
        return True, f"{words} as asked for, speed unproven: {bench.target.unmeasurable()}"
    keep_slower = bench.recipe.quantize.keep_slower
    return _verdict(race, words, keep_slower=keep_slower, favoured=favoured)


def _verdict(
    race: LatencyResult, words: str = "INT8", *, keep_slower: bool, favoured: bool = False
) -> tuple[bool, str]:
    measured = (
        f"{words} ran at {ratio(race.ratio)} the speed of float "
        f"({ratio_interval(race.interval)}) at {configuration(race.config)}"
    )
    if race.verdict == "faster":
        return True, f"{measured}: it pays"
    if favoured and race.verdict != "slower":
        return True, f"{measured}: {race.verdict}, kept as it was faster on the whole graph"
    if keep_slower:
        return True, f"{measured}: {race.verdict}, kept because of --keep-slower"
    return False, f"{measured}: {race.verdict}, so it was reverted (--keep-slower keeps it)"


def _speed(race: LatencyResult | None) -> dict[str, float]:
    return {} if race is None else {"ratio": race.ratio, "rounds": race.rounds}


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
