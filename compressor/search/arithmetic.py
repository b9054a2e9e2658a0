"""What float work is computed in, of targets that can compute it in less than float32.

What ships in float32, and float without integers, are raced with the same in another arithmetic;
the fastest that is accepted ships. It is a precision like any other, and judged as such.
"""

from dataclasses import replace

from calibration.dataset import CalibrationSet
from compressor.plan.realize import realize
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.precision import WORDS
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Candidate, Outcome
from compressor.search.session import Session, Stage

STAGE = "arithmetic of floats"
NO_INTEGERS: dict[str, object] = {
    **{"ship": "float", "half": None, "plain_norms": False, "tokens": None, "rounded_for": None},
    **{"stored": None, "integers_trained": None, "tables": None},
    **dict.fromkeys(("integer", "dynamic", "rows"), ()),
    **{name: {} for name in ("tied", "cache", "ranges", "bias", "rounded", "forms", "smooth")},
}
"""What a plan says where nothing is in integers."""


def with_arithmetic(
    session: Session, found: Outcome, data: CalibrationSet | None, acceptance: Acceptance
) -> Outcome:
    """The outcome with its float work in another arithmetic, where that is faster and accepted.

    Args:
        session: The target, whose recipe says what is tried.
        found: What would ship.
        data: Calibration samples, which are not needed.
        acceptance: The quality budget, or none.
    """
    del data
    target = session.target
    if found.interrupted or not (target.arithmetics or target.why_no_arithmetic):
        return found
    with session.stage(STAGE) as stage:
        if target.why_no_arithmetic is not None:
            stage.notices.append(target.why_no_arithmetic)
        starts = [found]
        if found.plan.ship != "float":
            starts.append(_in_float(found))
        best = found
        for start in starts:
            for name in target.arithmetics:
                best = _better(session, best, start, name, acceptance, stage)
        if best.plan.floats is not None:
            notice = target.arithmetic_words(best.plan.floats)
            stage.notices.append(notice)
            session.progress.notice(notice)
    return best.then(stage.record)


def _in_float(found: Outcome) -> Outcome:
    """Nothing in integers: pruned, sparse and trained as it was."""
    plan = found.plan.model_copy(update=NO_INTEGERS)
    return found.then(plan=plan, name="float", shipped=found.plain, graph=found.plain)


def _better(
    session: Session,
    best: Outcome,
    start: Outcome,
    name: str,
    acceptance: Acceptance,
    stage: Stage,
) -> Outcome:
    """`start` in that arithmetic where it is faster than the best and accepted; else the best."""
    plan = start.plan.model_copy(update={"floats": name})
    words = f"{WORDS[plan.ship]}, floats in {name}"
    with session.progress.stage(f"try {words}"):
        made = realize(start.graph, plan, session.target)
        race = session.race(best.shipped, made, seconds=session.recipe.measure.seconds / 2)
        if race is None:
            stage.decide(words, "left", session.untimed(best.shipped, made))
            return best
        told = (
            f"it ran at {ratio(race.speed)} ({ratio_interval(race.ends)}) the speed of "
            f"{best.candidate.name} at {configuration(race.config)}"
        )
        if race.verdict != "faster":
            stage.decide(words, "left", told)
            return best
        judged = acceptance.accepts(made)
    told = "; ".join(filter(None, (told, judged.words)))
    stage.decide(words, "kept" if judged.accepted else "refused", told)
    tried = Candidate(words, plan, start.candidate, reason=told, judged=judged)
    considered = (*best.considered, tried.told())
    if not judged.accepted:
        return replace(best, considered=considered)
    stage.timed(race)
    before = tuple(one.model_copy(update={"shipped": False}) for one in best.considered)
    reason = f"{best.reason}; {told.replace('it ran', f'{words} ran', 1)}"
    ships = start.then(plan=plan, name=words, reason=reason, shipped=made)
    return replace(ships, considered=(*before, tried.told(shipped=True)))
