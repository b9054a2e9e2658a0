"""Stores weights in fewer bits and keeps that where the file shrinks.

Who asks for `int4`, `int8-weights`, `fp16` or `bf16` asks for a smaller file: it ships where it is
smaller, whatever that does to the speed, which is measured and told. Within a quality budget the
matrices that lose most get 8 bits, or stay float, as few as possible.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, cast

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.graph.patterns import LEFT, unmatched
from compressor.plan.plan import GraphPlan
from compressor.plan.realize import realize, stored_graph
from compressor.plan.storage import StoragePlan, StoredMatrix, arrays_of
from compressor.quantization import half, weight_only
from compressor.quantization.auto import drawn
from compressor.quantization.noise import layer_noise
from compressor.quantization.weight_only import StoringOptions
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, percent, ratio, ratio_interval
from compressor.results.measurements import LatencyResult, Size
from compressor.results.precision import WORDS, Stored
from compressor.results.records import StageRecord
from compressor.search.acceptance import Acceptance
from compressor.search.bisection import Bracket, bisect, half_way
from compressor.search.candidate import Candidate, Outcome, Raced
from compressor.search.measure import size
from compressor.search.precision.ptq_search import Kind, PtqSearch, Step
from compressor.search.precision.refused_nodes import storable
from compressor.search.session import Session
from compressor.system.scratch import scratch
from exporters.base import QuantPolicy

SMALLER = 0.99
"""Size of the file, relative to float's, below which it counts as smaller."""
FLOAT32: Final = 1
"""Accuracy level of MatMulNBits at which it multiplies in float32."""
Train = Callable[[Outcome, GraphPlan], tuple[GraphPlan | None, StageRecord | None]]
"""From a float graph and its plan to one with trained integers, if that helps, and the stage."""
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


def with_stored_weights(
    session: Session,
    start: Outcome,
    data: CalibrationSet | None,
    acceptance: Acceptance,
    train: Train | None = None,
) -> Outcome:
    """Store weights in fewer bits, as the recipe says, and keep that if the file shrinks.

    Args:
        session: How to measure.
        start: The float graph that was decided on.
        data: Calibration samples; without any, weights are rounded to the nearest.
        acceptance: The quality budget, or none.
        train: Trains integers of few bits that the budget refuses.

    Raises:
        KeyboardInterrupt: Before there was a best so far.
    """
    mode = _mode(session)
    proposal = _with_notices(session, start.graph, proposed(session, start.graph, data))
    found = start.then(*proposal.records, float_reasons=proposal.float_reasons)
    if not proposal.stored.nodes:
        return found.then(reason=f"no weight of this graph can be stored as {WORDS[mode]}")
    plan = start.plan.model_copy(update={"ship": mode, "stored": proposal.stored})
    runs = storable(session, start.graph, plan)
    plan = runs.plan
    assert plan.stored is not None, "a plan that stores weights"
    proposal = replace(proposal, stored=plan.stored)
    found = found.then(*runs.records)
    if not (plan.stored.matrices or plan.stored.halved):
        return found.then(reason=f"float ships: {runs.notice}")
    samples = acceptance.samples if data is None else data
    search = PtqSearch(session, acceptance, found, plan, samples, named=WORDS[mode])
    search.run(_steps(session, proposal, data, train))
    return _kept_if_smaller(search)


def _steps(
    session: Session, proposal: Proposal, data: CalibrationSet | None, train: Train | None
) -> tuple[Step, ...]:
    """The order in which weights get more bits, until a budget is kept."""

    def relaxed(search: PtqSearch) -> None:
        _relax(search, proposal, data)

    def trained(search: PtqSearch) -> None:
        if train is not None and not search.out_of_time():
            _trained(search, train)

    return (
        Step("as proposed", PtqSearch.propose, Kind.FREE),
        Step("training through integers", trained, Kind.COSTS),
        Step("activations in float", _float_activations, Kind.COSTS),
        Step("more bits for the worst matrices", relaxed, Kind.COSTS),
    )


def roughly(session: Session, model: ir.Model) -> ir.Model:
    """A graph with its weights in fewer bits, of which only speed and size count."""
    proposal = proposed(session, model, None)
    return stored_graph(model, _mode(session), proposal.stored, session.target)


def _mode(session: Session) -> Stored:
    return cast(Stored, session.recipe.quantize.mode)


def proposed(session: Session, graph: ir.Model, data: CalibrationSet | None) -> Proposal:
    """Which weights the recipe's mode stores in fewer bits, before anything is measured.

    Args:
        session: The recipe.
        graph: The float graph.
        data: Calibration samples; without any, weights are rounded to the nearest.
    """
    mode = _mode(session)
    if mode == "int4" or mode == "int8-weights":  # noqa: PLR1714 - mypy narrows only this
        return _in_blocks(session, graph, data, 4 if mode == "int4" else 8)
    return _halved(session, graph, data, mode)


def _with_notices(session: Session, graph: ir.Model, proposal: Proposal) -> Proposal:
    """With a notice for what the recipe leaves in float and the graph does not have."""
    leave = session.recipe.quantize.leave
    notices = unmatched(graph, leave, LEFT, "nothing in float")
    for notice in notices:
        session.progress.notice(notice)
    first, *others = proposal.records
    first = first.model_copy(update={"notices": (*first.notices, *notices)})
    return replace(proposal, records=(first, *others))


def _in_blocks(
    session: Session, graph: ir.Model, data: CalibrationSet | None, bits: Literal[4, 8]
) -> Proposal:
    options = session.recipe.quantize
    how = StoringOptions(
        bits=bits,
        table_bits=options.table_bits,
        block=options.block,
        symmetric=options.symmetric,
        leave=options.leave,
        batch=options.batch,
        memory=options.memory,
        standard=session.target.blocks_as == "standard",
    )
    chosen = weight_only.choose(graph, data, how, progress=session.progress)
    stored = StoragePlan(
        matrices={name: StoredMatrix.of(form) for name, form in chosen.forms.items()},
        accuracy_level=4 if options.compute == "int8" else FLOAT32,
        nodes=chosen.nodes,
        arrays=arrays_of(chosen.packed),
    )
    return Proposal(stored, chosen.errors, chosen.float_reasons, (chosen.record,))


def _halved(
    session: Session, graph: ir.Model, data: CalibrationSet | None, kind: half.Kind
) -> Proposal:
    """Weights whose range fits, without those whose layers lose too much on data."""
    leave = session.recipe.quantize.leave
    chosen = half.choose(graph, kind, leave)
    if data is not None and chosen.nodes:
        with session.progress.stage("check ranges"):
            refused = _poor(session, graph, data, kind, chosen)
        if refused:
            chosen = half.choose(graph, kind, leave, refused)
    stored = StoragePlan(halved=chosen.weights, nodes=chosen.nodes)
    return Proposal(stored, {}, chosen.float_reasons, (chosen.record,))


def _poor(
    session: Session, graph: ir.Model, data: CalibrationSet, kind: half.Kind, chosen: half.Halving
) -> dict[str, str]:
    """Node → what it loses on the data, of those that lose more than rounding explains."""
    sample = drawn(data, session.recipe.seed, SAMPLES)
    made = half.halve(graph, chosen.weights, kind)
    policy = without_absorbed(session.target.policy(session.recipe.quantize.cpu))
    noise = layer_noise(
        graph, made, chosen.nodes, sample, policy, memory=session.recipe.quantize.memory
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


def _trained(search: PtqSearch, train: Train) -> None:
    """The same bits with other integers, which learnt to answer as the float graph does."""
    plan, record = train(search.start, search.plan)
    if record is not None:
        search.start = search.start.then(record)
    if plan is not None:
        search.change(f"{search.named}, trained", plan)


def _float_activations(search: PtqSearch) -> None:
    """The same integers multiplied in float32: slower, and no activation is rounded."""
    stored = search.plan.stored
    if stored is None or not _rounds(search.session, stored) or search.out_of_time():
        return
    plan = search.plan.model_copy(update={"stored": _in_float32(stored)})
    search.attempt(f"{search.named}, activations in float", plan)


def _rounds(session: Session, stored: StoragePlan) -> bool:
    """Whether products round what they read."""
    able = session.target.blocks_as == "kernels" or session.target.rounds_stored
    return able and bool(stored.matrices) and stored.accuracy_level != FLOAT32


def _in_float32(stored: StoragePlan) -> StoragePlan:
    return stored.model_copy(update={"accuracy_level": FLOAT32})


def _relax(search: PtqSearch, proposal: Proposal, data: CalibrationSet | None) -> None:
    """As few of the worst matrices as it takes in 8 bits, then of those in float, by bisection.

    Activations are float by then, as that alone did not do.
    """
    session = search.session
    stored = _in_float32(proposal.stored) if proposal.stored.matrices else proposal.stored
    if _mode(session) == "int4" and session.target.blocks_as == "kernels":
        finer = _in_blocks(session, search.graph, data, 8)
        _bisected(search, stored, proposal.errors, finer.stored)
        if search.best is None:
            _bisected(search, _in_float32(finer.stored), finer.errors, None)
    else:
        _bisected(search, stored, proposal.errors, None)


def _bisected(
    search: PtqSearch, stored: StoragePlan, errors: Mapping[str, float], fine: StoragePlan | None
) -> None:
    """Have as few of the worst matrices as the budget allows as in `fine`, or in float."""
    ranked = sorted(errors, key=lambda name: -errors[name])
    if len(ranked) < 2:
        return
    bits = {matrix.bits for matrix in stored.matrices.values()}
    base = f"{search.named}, 8 bits" if fine is None and bits == {8} else search.named
    where = "in float" if fine is None else "in 8 bits"

    def attempt(value: float, found: Bracket) -> Bracket:
        count = int(value)
        relaxed = _relaxed(stored, set(ranked[:count]), fine)
        accepted = False
        if count <= len(ranked) and relaxed.matrices:
            name = f"{base}, worst {count} of {len(ranked)} matrices {where}"
            plan = search.plan.model_copy(update={"stored": relaxed})
            accepted = search.attempt(name, plan).accepted
        return found.with_(count, accepted=accepted)

    bisect(
        Bracket(holds=len(ranked) + 1, fails=0),
        attempt,
        until=lambda found: found.holds - found.fails <= 1 or search.out_of_time(),
        middle=lambda found: half_way(found) // 1,
    )


def _relaxed(stored: StoragePlan, names: set[str], fine: StoragePlan | None) -> StoragePlan:
    """The plan with some matrices as in `fine`, or in float."""
    kept = {name: one for name, one in stored.matrices.items() if name not in names}
    arrays = {k: a for k, a in stored.arrays.items() if k.rpartition("/")[0] in kept}
    if fine is not None:
        kept |= {name: fine.matrices[name] for name in names}
        arrays |= {k: a for k, a in fine.arrays.items() if k.rpartition("/")[0] in names}
    return stored.model_copy(update={"matrices": kept, "arrays": arrays})


def _kept_if_smaller(search: PtqSearch) -> Outcome:
    """What the search found where its file is smaller than float's, with its speed told."""
    session, best = search.session, search.best
    others = tuple(one.told() for one in search.trials if one is not best)
    found = replace(search.start, considered=others, interrupted=search.interrupted)
    if best is None:
        ended = f"{search.ended} before any" if search.ended else "in the search, no"
        return found.then(reason=f"{ended} {search.named} graph kept the budget: float ships")
    found = replace(found, quantized=best)
    graph = found.graph
    with session.stage("compare size and speed") as stage:
        with session.progress.stage("quantize"):
            made = realize(graph, best.plan, session.target)
        if search.interrupted:
            told = f"{best.name}: the best so far when it was interrupted"
            return _shipped(found, best, made, told)
        with session.progress.stage("decide"):
            race = session.race(graph, made, seconds=session.recipe.measure.seconds)
            before, after = _size(session, graph), _size(session, made)
        kept = after.file_bytes < SMALLER * before.file_bytes
        reason = _verdict(best.name, race, after.file_bytes / before.file_bytes, kept)
        stage.parameters = {} if race is None else {"ratio": race.speed, "rounds": race.rounds}
        stage.decide(best.name, "kept" if kept else "reverted", reason)
        stage.effects.append(weight_effect(graph, made))
        stage.timed(race)
    whole = "; ".join(filter(None, (best.reason, reason)))
    best = replace(best, reason=whole, latency=race, size=after)
    found = found.then(stage.record)
    if not kept:
        found = found.then(reason=reason)
        return replace(found, considered=(*others, best.told()))
    found = replace(found, raced=None if race is None else Raced(graph, made, race))
    return _shipped(found, best, made, reason)


def _shipped(found: Outcome, best: Candidate, made: ir.Model, reason: str) -> Outcome:
    ships = found.then(plan=best.plan, name=best.name, reason=reason, shipped=made)
    return replace(ships, considered=(*found.considered, best.told(shipped=True)))


def _size(session: Session, model: ir.Model) -> Size:
    batch = session.prepared.fixed_batch or 1
    with scratch() as folder:
        built = session.target.draft(model, Path(folder))
        return size(built, model, session.prepared.feeds(batch, session.recipe.seed))


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
