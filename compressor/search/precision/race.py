"""What becomes of the best quantized graph: raced against float, and kept where it pays."""

from dataclasses import replace

import onnx_ir as ir

from compressor.plan.realize import realize
from compressor.results.effects import weight_effect
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.measurements import LatencyResult, UseResult
from compressor.results.precision import WORDS
from compressor.search.candidate import Candidate, Outcome, Raced
from compressor.search.in_use import in_words, raced_in_use
from compressor.search.precision.ptq_search import PtqSearch
from compressor.search.session import Session


def kept_if_faster(search: PtqSearch, *, favoured: bool = False) -> Outcome:
    """What the search found, if it is faster than float in the deciding configuration; else float.

    Args:
        search: Which has run.
        favoured: Whether 8 bits ship where no difference is found: they were faster on the whole
            graph, and what is decided now is the same with less of it.

    Raises:
        KeyboardInterrupt: There is no budget, so that there is no best so far.
    """
    session, start, best = search.session, search.start, search.best
    if best is None:
        return _float(search)
    with session.stage("quantize") as stage:
        with session.progress.stage("quantize"):
            made = realize(start.graph, best.plan, session.target)
        found = replace(start, quantized=best, interrupted=search.interrupted)
        if search.interrupted:
            told = f"{best.name}: the best so far when it was interrupted"
            return _shipped(found, best, made, told, _considered(search, best))
        try:
            with session.progress.stage("decide"):
                seconds = session.recipe.measure.seconds
                race = session.race(start.plain, made, seconds=seconds)
                use = _in_use(session, start.plain, made, race)
        except KeyboardInterrupt:
            if not search.has_budget:
                raise
            told = f"{best.name}: interrupted before its speed was compared"
            found = replace(found, interrupted=True)
            return _shipped(found, best, made, told, _considered(search, None))
        words = WORDS[best.plan.ship]
        kept, reason = _decision(
            race, session, words, start.plain, made, favoured=favoured, use=use
        )
        stage.parameters = {"cpu": best.plan.cpu, "weight_bits": best.plan.weight_bits}
        stage.parameters |= _speed(race)
        stage.changed = {
            "integer nodes": len(best.plan.quantized),
            "Q/DQ values": len(best.plan.ranges),
        }
        stage.decide(best.name, "kept" if kept else "reverted", reason)
        stage.effects.append(weight_effect(start.plain, made))
        stage.timed(race)
    raced = replace(best, latency=race, reason="; ".join(filter(None, (best.reason, reason))))
    considered = _considered(search, raced if kept else None, raced)
    if not kept:
        return replace(found.then(stage.record, reason=reason), considered=considered)
    found = found.then(stage.record)
    found = replace(found, raced=None if race is None else Raced(start.plain, made, race))
    return _shipped(found, best, made, reason, considered)


def _float(search: PtqSearch) -> Outcome:
    """Nothing kept the budget."""
    words = WORDS[search.plan.ship]
    ended = f"{search.ended} before any" if search.ended else "in the search, no"
    refused = Candidate(
        search.named,
        search.plan,
        search.start.candidate,
        float_reasons=search.start.float_reasons,
        calibration=search.calibration,
    )
    found = search.start.then(reason=f"{ended} {words} graph kept the budget: float ships")
    return replace(found, quantized=refused, considered=_considered(search, None))


def _shipped(
    found: Outcome,
    best: Candidate,
    made: ir.Model,
    reason: str,
    considered: tuple[ToldCandidate, ...],
) -> Outcome:
    ships = found.then(
        plan=best.plan,
        name=best.name,
        reason=reason,
        float_reasons=best.float_reasons,
        shipped=made,
    )
    return replace(ships, considered=considered)


def _considered(
    search: PtqSearch, ships: Candidate | None, raced: Candidate | None = None
) -> tuple[ToldCandidate, ...]:
    """All that was tried, the chosen one with its race at length."""
    found = [raced if raced and one is search.best else one for one in search.trials]
    if not search.trials and raced is not None:
        found = [raced]
    return tuple(one.told(shipped=one is ships) for one in found)


def _decision(
    race: LatencyResult | None,
    session: Session,
    words: str,
    *models: ir.Model,
    favoured: bool = False,
    use: UseResult | None = None,
) -> tuple[bool, str]:
    """Whether 8 bits ship, and why; where nothing can be timed they do."""
    if race is None:
        return True, f"{words} as asked for, speed unproven: {session.untimed(*models)}"
    keep_slower = session.recipe.quantize.keep_slower
    return verdict(race, words, keep_slower=keep_slower, favoured=favoured, use=use)


def _in_use(
    session: Session, baseline: ir.Model, made: ir.Model, race: LatencyResult | None
) -> UseResult | None:
    """The same in all phases of a decoder; None of other graphs, or where nothing can be timed."""
    if race is None:
        return None
    seconds = session.recipe.measure.seconds / 2
    return raced_in_use(session, baseline, made, seconds=seconds, known=race)


def verdict(
    race: LatencyResult,
    words: str = "INT8",
    *,
    keep_slower: bool,
    favoured: bool = False,
    use: UseResult | None = None,
) -> tuple[bool, str]:
    """Whether what was raced ships, and why.

    Args:
        race: Against float.
        words: What was raced.
        keep_slower: Whether it was asked for whatever its speed.
        favoured: Whether it ships where no difference was found.
        use: Of a decoder, what the races in all phases say: that decides then.
    """
    measured = (
        f"{words} ran at {ratio(race.speed)} the speed of float "
        f"({ratio_interval(race.ends)}) at {configuration(race.config)}"
    )
    decided = race.verdict if use is None else use.verdict
    if use is not None:
        measured = f"{measured}, and at {in_words(use)}"
    found = "no decision, as the interval is too wide" if decided == "undecided" else decided
    if decided == "faster":
        return True, f"{measured}: it pays"
    if favoured and decided != "slower":
        return True, f"{measured}: {found}, kept as it was faster on the whole graph"
    if keep_slower:
        return True, f"{measured}: {found}, kept because of --keep-slower"
    return False, f"{measured}: {found}, so it was reverted (--keep-slower keeps it)"


def _speed(race: LatencyResult | None) -> dict[str, float]:
    return {} if race is None else {"ratio": race.speed, "rounds": race.rounds}
