"""Proposes plans and keeps what measures better; `realize` carries them out."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.bench import Bench
from compressor.evaluation.results import LatencyResult
from compressor.folding import fold
from compressor.graph.effects import weight_effect
from compressor.graph.fingerprint import fingerprint
from compressor.judging import Judging
from compressor.plan import GraphPlan
from compressor.pruner import CHECKED
from compressor.quantization.static import CalibrationOptions, StaticChoice, calibrate
from compressor.realize import baseline_graph, pruned_graph, realize, require_same_graph
from compressor.recipe import QuantizeOptions
from compressor.records import Decision, Effect, StageRecord
from compressor.removal import planned
from compressor.report.format import configuration, ratio, ratio_interval
from compressor.report.schema import Candidate
from compressor.report.schema_pruning import PruningResult
from compressor.stepping import Stepping, Trial
from compressor.steps import STEPS
from exporters.base import QuantPolicy, Target


@dataclass(frozen=True)
class Quantized:
    """An INT8 graph, shipped or not, and what made it.

    Attributes:
        model: With Q/DQ.
        plan: What it carries out.
        choice: What calibration chose and from which statistics.
        float_reasons: Node → why it stayed float.
    """

    model: ir.Model
    plan: GraphPlan
    choice: StaticChoice
    float_reasons: dict[str, str]


@dataclass(frozen=True)
class Decided:
    """The graphs of one run, the plan that made them, and the stages that led there.

    Attributes:
        captured: As it came from the source: what quality is compared with.
        baseline: The faster of captured and folded: what speed is compared with.
        shipped: What goes into the artifact.
        plan: What was decided.
        reason: Why that is shipped, in one sentence.
        float_reasons: Node → why it stayed float.
        records: One a stage.
        candidates: What could have shipped, with the figures that decided.
        interrupted: Whether the user ended the search: this is the best so far, not confirmed.
        quantized: The INT8 graph that ships or was the last candidate; None where there is none,
            or a plan was replayed.
        pruned: The smaller float graph; None where nothing was pruned.
        pruning: What was removed from it.
        held_back: What the quality budget did to how far it was to be pruned; None where nothing.
    """

    captured: ir.Model
    baseline: ir.Model
    shipped: ir.Model
    plan: GraphPlan
    reason: str
    float_reasons: dict[str, str]
    records: tuple[StageRecord, ...]
    candidates: tuple[Candidate, ...] = ()
    interrupted: bool = False
    quantized: Quantized | None = None
    pruned: ir.Model | None = None
    pruning: PruningResult | None = None
    held_back: str | None = None

    @property
    def graph(self) -> ir.Model:
        """The float graph that precision is decided for."""
        return self.baseline if self.pruned is None else self.pruned


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
        stats: What was collected from such samples earlier. Without either the graph stays float.
        judging: The quality budget; None accepts any quality.

    Raises:
        DataError: The statistics are of another graph.
        KeyboardInterrupt: Before there was a best so far.
    """
    if bench.recipe.quantize.mode == "none":
        return replace(start, reason="quantization was switched off (--quantize none)")
    if data is None and stats is None:
        reason = "nothing was quantized: INT8 needs calibration data (--calib DATA)"
        return replace(start, reason=reason)
    return _quantize(bench, start, data, stats, judging)


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
        batch = bench.prepared.fixed_batch or CHECKED
        feeds = bench.prepared.feeds(batch, bench.recipe.seed)
        pruned, grouping = pruned_graph(baseline, plan.prune, feeds)
        pruning = planned(plan.prune, grouping, pruned)
    shipped = realize(baseline if pruned is None else pruned, plan, bench.target)
    record = StageRecord(
        name="replay the plan",
        seconds=time.perf_counter() - started,
        changed={"integer nodes": len(plan.integer)},
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
    kind: Literal["captured", "folded"] = "captured" if race.verdict == "slower" else "folded"
    decision = Decision(
        subject="float graph",
        verdict=kind,
        reason=f"folded runs at {ratio(race.ratio)} the speed of captured "
        f"({ratio_interval(race.interval)})",
    )
    record = StageRecord(
        name="choose the baseline",
        seconds=time.perf_counter() - started,
        decisions=(decision,),
        effects=(_speed_effect(race),),
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


def policy_of(target: Target, options: QuantizeOptions) -> QuantPolicy:
    """The target's policy for the deployment CPU, with the schemes that were asked for."""
    return target.policy(options.cpu).with_schemes(
        activation=options.activation,
        symmetric=options.symmetric,
        weight_bits=options.weight_bits,
        granularity=options.granularity,
    )


def _quantize(
    bench: Bench,
    undecided: Decided,
    data: CalibrationSet | None,
    stats: CalibrationStats | None,
    judging: Judging | None,
) -> Decided:
    """Calibrate, realize INT8, and keep it where it is faster in the deciding configuration."""
    options = bench.recipe.quantize
    policy = policy_of(bench.target, options)
    path = bench.recipe.data.stats or Path("the statistics")
    total = None if data is None or stats is not None else len(data)
    with bench.progress.stage("calibrate", total=total) as advance:
        chosen = calibrate(
            undecided.graph,
            data,
            policy,
            CalibrationOptions(
                method=options.ranges,
                batch=options.batch,
                memory=options.memory,
                cache=bench.recipe.data.cache,
                stats=None if stats is None else (stats, path),
                seed=bench.recipe.seed,
                alternatives=judging is not None,
                notices=bench.target.cautions(policy),
            ),
            advance=advance,
        )
    decided = replace(
        undecided,
        float_reasons=dict(chosen.float_reasons),
        records=(*undecided.records, chosen.record),
    )
    if not chosen.integer:
        return replace(decided, reason="no part of this graph gains from integer kernels")
    plan = undecided.plan.model_copy(
        update={
            "ship": "int8",
            "weight_bits": policy.weight.bits,
            "integer": chosen.integer,
            "ranges": dict(chosen.ranges),
        }
    )
    if judging is not None:
        replayed = judging.search if data is None else data
        search = Stepping(bench, judging, undecided.graph, plan, replayed, chosen.stats)
        return _within_budget(search, decided, search.run(STEPS), chosen)
    started = time.perf_counter()
    with bench.progress.stage("quantize"):
        quantized = realize(undecided.graph, plan, bench.target)
    with bench.progress.stage("decide"):
        race = bench.race(undecided.graph, quantized, seconds=bench.recipe.measure.seconds)
    kept, reason = _verdict(race, keep_slower=options.keep_slower)
    record = _record(plan, chosen, race, kept, reason, time.perf_counter() - started)
    effects = (weight_effect(undecided.graph, quantized), _speed_effect(race))
    record = record.model_copy(update={"effects": effects})
    candidate = Candidate(
        name="INT8",
        shipped=kept,
        reason=reason,
        latency=race,
        integer_nodes=len(plan.integer),
    )
    decided = replace(
        decided,
        reason=reason,
        records=(*decided.records, record),
        candidates=(candidate,),
        quantized=Quantized(quantized, plan, chosen, decided.float_reasons),
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
        refused = realize(undecided.graph, search.whole, bench.target)
        return replace(
            decided,
            reason=f"{ended} no INT8 graph kept the budget: float ships",
            quantized=Quantized(refused, search.whole, choice, undecided.float_reasons),
        )
    quantized = realize(undecided.graph, best.plan, bench.target)
    reasons = undecided.float_reasons | dict.fromkeys(
        best.floats, "as integer it cost more quality than the budget allows"
    )
    decided = replace(decided, quantized=Quantized(quantized, best.plan, choice, reasons))
    chosen = replace(decided, shipped=quantized, plan=best.plan, float_reasons=reasons)
    if search.interrupted:
        return replace(chosen, reason=f"{best.name}: the best so far when it was interrupted")
    started = time.perf_counter()
    try:
        with bench.progress.stage("decide"):
            race = bench.race(undecided.graph, quantized, seconds=bench.recipe.measure.seconds)
    except KeyboardInterrupt:
        reason = f"{best.name}: interrupted before its speed was compared"
        return replace(chosen, reason=reason, interrupted=True)
    kept, reason = _verdict(race, keep_slower=bench.recipe.quantize.keep_slower)
    raced = replace(
        chosen if kept else decided,
        reason=reason,
        candidates=_with_race(search.trials, best, race, kept, reason),
    )
    decision = Decision(subject=best.name, verdict="kept" if kept else "reverted", reason=reason)
    compared = StageRecord(
        name="compare speed",
        seconds=time.perf_counter() - started,
        parameters={"ratio": race.ratio, "rounds": race.rounds},
        decisions=(decision,),
        effects=(weight_effect(undecided.graph, quantized), _speed_effect(race)),
    )
    return replace(raced, records=(*raced.records, compared))


def _with_race(
    trials: list[Trial], best: Trial, race: LatencyResult, kept: bool, reason: str
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


def _speed_effect(race: LatencyResult) -> Effect:
    before, after = race.baseline.median_ms, race.result.median_ms
    return Effect(amount="latency_ms", before=before, after=after)


def _verdict(race: LatencyResult, *, keep_slower: bool) -> tuple[bool, str]:
    measured = (
        f"INT8 ran at {ratio(race.ratio)} the speed of float "
        f"({ratio_interval(race.interval)}) at {configuration(race.config)}"
    )
    if race.verdict == "faster":
        return True, f"{measured}: it pays"
    if keep_slower:
        return True, f"{measured}: {race.verdict}, kept because of --keep-slower"
    return False, f"{measured}: {race.verdict}, so it was reverted (--keep-slower keeps it)"


def _record(
    plan: GraphPlan,
    chosen: StaticChoice,
    race: LatencyResult,
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
            "ratio": race.ratio,
            "rounds": race.rounds,
        },
        changed={"integer nodes": len(chosen.integer), "Q/DQ values": len(chosen.ranges)},
        decisions=(
            Decision(subject="INT8", verdict="kept" if kept else "reverted", reason=reason),
        ),
    )
