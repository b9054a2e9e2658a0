"""Stores weights in fewer bits and keeps that where the file shrinks.

Who asks for `int4`, `int8-weights`, `fp16` or `bf16` asks for a smaller file: it ships where it is
smaller, whatever that does to the speed, which is measured and told. Within a quality budget the
matrices that lose most get 8 bits, or stay float, as few as possible.
"""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, cast

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.errors import TargetError
from compressor.graph.patterns import unmatched
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize, stored_graph
from compressor.plan.storage import StoragePlan, StoredMatrix, arrays_of
from compressor.quantization import half, weight_only
from compressor.quantization.auto import drawn
from compressor.quantization.noise import layer_noise
from compressor.quantization.weight_only import StoringOptions
from compressor.recipe.recipe import QuantizeOptions
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, percent, ratio, ratio_interval
from compressor.results.measurements import LatencyResult, Size
from compressor.results.precision import WORDS
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Candidate
from compressor.search.acceptance import Judging
from compressor.search.candidate import Decided, Quantized, Raced, speed_effects
from compressor.search.measure import size
from compressor.search.precision.budget_loop import Step, Stepping
from compressor.search.precision.budget_steps import all_float, as_is
from compressor.search.precision.refused_nodes import storable
from compressor.search.session import Bench
from exporters.base import QuantPolicy, Target

Mode = Literal["int4", "int8-weights", "fp16", "bf16"]
STORED: Final[tuple[Mode, ...]] = ("int4", "int8-weights", "fp16", "bf16")

SMALLER = 0.99
"""Size of the file, relative to float's, below which it counts as smaller."""
FLOAT32: Final = 1
"""Accuracy level of MatMulNBits at which it multiplies in float32."""
SAMPLES = 32
"""Samples on which the layers of half weights are compared with float."""


@dataclass(frozen=True)
class Proposal:
    """Which weights to store in fewer bits, before anything is measured.

    Attributes:
        stored: The part of the plan.
        errors: Initializer → energy of the error, relative; those that can be relaxed.
        float_reasons: Node → why its weight stays float.
        records: The stages.
    """

    stored: StoragePlan
    errors: Mapping[str, float]
    float_reasons: Mapping[str, str]
    records: tuple[StageRecord, ...]


def require_mode(options: QuantizeOptions, target: Target) -> None:
    """Refuse what the target's runtime cannot load.

    Raises:
        TargetError: It has no kernels for weights of that kind.
    """
    if options.mode in STORED and options.mode not in target.stores:
        known = ", ".join(sorted(target.stores)) or "none of these"
        hint = f"Of the modes that only store weights it runs {known}; int8 and none are left."
        raise TargetError(
            f"target {target.name!r} cannot run --quantize {options.mode}",
            hint=target.stored_otherwise.get(options.mode, hint),
        )


def with_stored_weights(
    bench: Bench, start: Decided, data: CalibrationSet | None, judging: Judging | None = None
) -> Decided:
    """Store weights in fewer bits, as the recipe says, and keep that if the file shrinks.

    Args:
        bench: How to measure.
        start: The float graph that was decided on.
        data: Calibration samples; without any, weights are rounded to the nearest.
        judging: The quality budget; None accepts any quality.

    Raises:
        KeyboardInterrupt: Before there was a best so far.
    """
    mode = _mode(bench)
    proposal = _with_notices(bench, start.graph, _proposed(bench, start.graph, data))
    decided = replace(
        start,
        float_reasons=dict(proposal.float_reasons),
        records=(*start.records, *proposal.records),
    )
    if not proposal.stored.nodes:
        reason = f"no weight of this graph can be stored as {WORDS[mode]}"
        return replace(decided, reason=reason)
    plan = start.plan.model_copy(update={"ship": mode, "stored": proposal.stored})
    runs = storable(bench, start.graph, plan)
    plan = runs.plan
    assert plan.stored is not None, "a plan that stores weights"
    proposal = replace(proposal, stored=plan.stored)
    decided = replace(decided, records=(*decided.records, *runs.records))
    if not (plan.stored.matrices or plan.stored.halved):
        return replace(decided, reason=f"float ships: {runs.records[0].notices[0]}")
    if judging is None:
        return _kept_if_smaller(bench, decided, plan, WORDS[mode])
    samples = judging.search if data is None else data
    search = Stepping(bench, judging, start.graph, plan, samples, None, named=WORDS[mode])
    record = search.run((as_is, _float_activations, _relaxing(bench, proposal, data), all_float))
    return _within_budget(search, replace(decided, records=(*decided.records, record)))


def roughly(bench: Bench, model: ir.Model) -> ir.Model:
    """A graph with its weights in fewer bits, of which only speed and size count."""
    proposal = _proposed(bench, model, None)
    return stored_graph(model, _mode(bench), proposal.stored, bench.target)


def _mode(bench: Bench) -> Mode:
    return cast(Mode, bench.recipe.quantize.mode)


def _proposed(bench: Bench, graph: ir.Model, data: CalibrationSet | None) -> Proposal:
    mode = _mode(bench)
    if mode == "int4" or mode == "int8-weights":  # noqa: PLR1714 - mypy narrows only this
        return _in_blocks(bench, graph, data, 4 if mode == "int4" else 8)
    return _halved(bench, graph, data, mode)


def _with_notices(bench: Bench, graph: ir.Model, proposal: Proposal) -> Proposal:
    """With a notice for what the recipe leaves in float and the graph does not have."""
    leave = bench.recipe.quantize.leave
    notices = unmatched(graph, leave, "`leave` in [quantize]:", "nothing in float")
    for notice in notices:
        bench.progress.notice(notice)
    first, *others = proposal.records
    first = first.model_copy(update={"notices": (*first.notices, *notices)})
    return replace(proposal, records=(first, *others))


def _in_blocks(
    bench: Bench, graph: ir.Model, data: CalibrationSet | None, bits: Literal[4, 8]
) -> Proposal:
    options = bench.recipe.quantize
    how = StoringOptions(
        bits=bits,
        table_bits=options.table_bits,
        block=options.block,
        symmetric=options.symmetric,
        leave=options.leave,
        batch=options.batch,
        memory=options.memory,
        standard=bench.target.blocks_as == "standard",
    )
    total = None if data is None else len(data)
    with bench.progress.stage("store weights", total=total) as advance:
        chosen = weight_only.choose(graph, data, how, advance=advance)
    stored = StoragePlan(
        matrices={name: StoredMatrix.of(form) for name, form in chosen.forms.items()},
        accuracy_level=4 if options.compute == "int8" else FLOAT32,
        nodes=chosen.nodes,
        arrays=arrays_of(chosen.packed),
    )
    return Proposal(stored, chosen.errors, chosen.float_reasons, (chosen.record,))


def _halved(
    bench: Bench, graph: ir.Model, data: CalibrationSet | None, kind: half.Kind
) -> Proposal:
    """Weights whose range fits, without those whose layers lose too much on data."""
    leave = bench.recipe.quantize.leave
    chosen = half.choose(graph, kind, leave)
    if data is not None and chosen.nodes:
        with bench.progress.stage("check ranges"):
            refused = _poor(bench, graph, data, kind, chosen)
        if refused:
            chosen = half.choose(graph, kind, leave, refused)
    stored = StoragePlan(halved=chosen.weights, nodes=chosen.nodes)
    return Proposal(stored, {}, chosen.float_reasons, (chosen.record,))


def _poor(
    bench: Bench, graph: ir.Model, data: CalibrationSet, kind: half.Kind, chosen: half.Halving
) -> dict[str, str]:
    """Node → what it loses on the data, of those that lose more than rounding explains."""
    sample = drawn(data, bench.recipe.seed, SAMPLES)
    made = half.halve(graph, chosen.weights, kind)
    policy = without_absorbed(bench.target.policy(bench.recipe.quantize.cpu))
    noise = layer_noise(
        graph, made, chosen.nodes, sample, policy, memory=bench.recipe.quantize.memory
    )
    return {
        one.point.node: f"on calibration data {kind} weights leave it {one.own:.1f} dB of signal "
        "to noise"
        for one in noise
        if one.own is not None and not one.own >= half.POOREST[kind]
    }


def without_absorbed(policy: QuantPolicy) -> QuantPolicy:
    """For graphs in which only weights change: activations stay nodes of their own."""
    return replace(policy, absorbed=frozenset())


def _float_activations(search: Stepping) -> bool:
    """The same integers multiplied in float32: slower, and no activation is rounded."""
    stored = search.whole.stored
    if stored is None or not _rounds(search.bench, stored) or search.out_of_time():
        return False
    plan = search.whole.model_copy(update={"stored": _in_float32(stored)})
    return search.attempt(f"{search.named}, activations in float", plan).accepted


def _rounds(bench: Bench, stored: StoragePlan) -> bool:
    """Whether products round what they read."""
    kernels = bench.target.blocks_as == "kernels"
    return kernels and bool(stored.matrices) and stored.accuracy_level != FLOAT32


def _in_float32(stored: StoragePlan) -> StoragePlan:
    return stored.model_copy(update={"accuracy_level": FLOAT32})


def _relaxing(bench: Bench, proposal: Proposal, data: CalibrationSet | None) -> Step:
    """As few of the worst matrices as it takes in 8 bits, then of those in float, by bisection.

    Activations are float by then, as that alone did not do.
    """

    def step(search: Stepping) -> bool:
        stored = _in_float32(proposal.stored) if proposal.stored.matrices else proposal.stored
        if _mode(bench) == "int4" and bench.target.blocks_as == "kernels":
            finer = _in_blocks(bench, search.baseline, data, 8)
            if _bisected(search, stored, proposal.errors, finer.stored):
                return True
            return _bisected(search, _in_float32(finer.stored), finer.errors, None)
        return _bisected(search, stored, proposal.errors, None)

    return step


def _bisected(
    search: Stepping, stored: StoragePlan, errors: Mapping[str, float], fine: StoragePlan | None
) -> bool:
    """Whether it does to have some of the worst matrices as in `fine`, or in float."""
    ranked = sorted(errors, key=lambda name: -errors[name])
    if len(ranked) < 2 or search.out_of_time():
        return False
    bits = {matrix.bits for matrix in stored.matrices.values()}
    base = f"{search.named}, 8 bits" if fine is None and bits == {8} else search.named
    where = "in float" if fine is None else "in 8 bits"
    fails, holds, found = 0, len(ranked) + 1, False
    while holds - fails > 1 and not search.out_of_time():
        middle = (fails + holds) // 2
        relaxed = _relaxed(stored, set(ranked[:middle]), fine)
        name = f"{base}, worst {middle} of {len(ranked)} matrices {where}"
        plan = search.whole.model_copy(update={"stored": relaxed})
        if middle <= len(ranked) and relaxed.matrices and search.attempt(name, plan).accepted:
            holds, found = middle, True
        else:
            fails = middle
    return found


def _relaxed(stored: StoragePlan, names: set[str], fine: StoragePlan | None) -> StoragePlan:
    """The plan with some matrices as in `fine`, or in float."""
    kept = {name: one for name, one in stored.matrices.items() if name not in names}
    arrays = {k: a for k, a in stored.arrays.items() if k.rpartition("/")[0] in kept}
    if fine is not None:
        kept |= {name: fine.matrices[name] for name in names}
        arrays |= {k: a for k, a in fine.arrays.items() if k.rpartition("/")[0] in names}
    return stored.model_copy(update={"matrices": kept, "arrays": arrays})


def _within_budget(search: Stepping, decided: Decided) -> Decided:
    """What the search found, if its file is smaller; else float."""
    best = search.best
    decided = replace(
        decided,
        candidates=tuple(trial.candidate() for trial in search.trials if trial is not best),
        interrupted=search.interrupted,
    )
    if best is None:
        ended = f"{search.ended} before any" if search.ended else "in the search, no"
        reason = f"{ended} {search.named} graph kept the budget: float ships"
        return replace(decided, reason=reason)
    if search.interrupted:
        shipped = realize(decided.graph, best.plan, search.bench.target)
        return replace(
            decided,
            shipped=shipped,
            plan=best.plan,
            candidates=(*decided.candidates, best.candidate(shipped=True)),
            quantized=Quantized(shipped, best.plan, None, decided.float_reasons),
            reason=f"{best.name}: the best so far when it was interrupted",
        )
    kept = _kept_if_smaller(search.bench, decided, best.plan, best.name)
    *others, last = kept.candidates
    told = best.candidate(shipped=last.shipped)
    last = last.model_copy(
        update={
            "quality": told.quality,
            "accepted": told.accepted,
            "reason": f"{told.reason}; {last.reason}",
        }
    )
    return replace(kept, candidates=(*others, last))


def _kept_if_smaller(bench: Bench, decided: Decided, plan: GraphPlan, name: str) -> Decided:
    """The plan's graph where its file is smaller than float's, with its speed told."""
    started = time.perf_counter()
    graph = decided.graph
    with bench.progress.stage("quantize"):
        made = realize(graph, plan, bench.target)
    with bench.progress.stage("decide"):
        race = bench.race(graph, made, seconds=bench.recipe.measure.seconds)
        before, after = _size(bench, graph), _size(bench, made)
    kept = after.file_bytes < SMALLER * before.file_bytes
    reason = _verdict(name, race, after.file_bytes / before.file_bytes, kept)
    decision = Decision(subject=name, verdict="kept" if kept else "reverted", reason=reason)
    record = StageRecord(
        name="compare size and speed",
        seconds=time.perf_counter() - started,
        parameters={} if race is None else {"ratio": race.speed, "rounds": race.rounds},
        decisions=(decision,),
        effects=(weight_effect(graph, made), *speed_effects(race)),
    )
    candidate = Candidate(name=name, shipped=kept, reason=reason, latency=race, size=after)
    decided = replace(
        decided,
        reason=reason,
        records=(*decided.records, record),
        candidates=(*decided.candidates, candidate),
        quantized=Quantized(made, plan, None, decided.float_reasons),
    )
    if not kept:
        return decided
    known = None if race is None else Raced(graph, made, race)
    return replace(decided, shipped=made, plan=plan, raced=known)


def _size(bench: Bench, model: ir.Model) -> Size:
    batch = bench.prepared.fixed_batch or 1
    with tempfile.TemporaryDirectory(prefix="compressor-") as folder:
        built = bench.target.draft(model, Path(folder))
        return size(built, model, bench.prepared.feeds(batch, bench.recipe.seed))


def _verdict(name: str, race: LatencyResult | None, share: float, kept: bool) -> str:
    if race is None:
        told = "speed unproven" if kept else "no smaller, so it was reverted"
        return f"{name}: the file is {percent(share)} of float's: {told}"
    speed = (
        f"{ratio(race.speed)} the speed of float ({ratio_interval(race.ends)}) at "
        f"{configuration(race.config)}"
    )
    if kept:
        found = "speed undecided" if race.verdict == "undecided" else race.verdict
        told = f"{found}, kept for its size" if race.verdict != "faster" else "faster, too"
        return f"{name}: the file is {percent(share)} of float's; it ran at {speed}: {told}"
    return f"{name}: the file is no smaller than float's, so it was reverted; it ran at {speed}"
