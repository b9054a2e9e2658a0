"""What ships after pruning was tried, and what the report tells of the attempts."""

import time
from dataclasses import dataclass, replace

from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.measurements import LatencyResult
from compressor.results.records import Decision, StageRecord
from compressor.results.report import Candidate
from compressor.search.candidate import Decided
from compressor.search.pruning.candidates import Attempt, Attempts


@dataclass(frozen=True)
class Why:
    """Why something ships.

    Attributes:
        asked: What was asked for, as a flag.
        pruning: What became of the pruning.
        reason: Why it ships, for the verdict; None where `pruning` says that.
        held_back: What the quality budget did to a goal; None where nothing.
        notices: What the user should know.
        findings: What else was decided on the way.
    """

    asked: str
    pruning: str
    reason: str | None = None
    held_back: str | None = None
    notices: tuple[str, ...] = ()
    findings: tuple[Decision, ...] = ()


def ships_whole(attempts: Attempts, why: Why) -> Decided:
    """Nothing is pruned."""
    return replace(
        attempts.whole,
        held_back=why.held_back,
        reason=why.reason or f"{why.pruning}; {attempts.whole.reason}",
        records=(*attempts.whole.records, _record(attempts, None, why)),
        candidates=_candidates(attempts, None),
    )


def ships_pruned(attempts: Attempts, best: Attempt, why: Why) -> Decided:
    """An attempt is the result; what was done to the whole graph before is told, too."""
    first = len(attempts.start.records)
    before = (
        record.model_copy(update={"name": f"{record.name}, whole graph"})
        for record in attempts.whole.records[first:]
    )
    own = best.decided.records[first:]
    return replace(
        best.decided,
        held_back=why.held_back,
        reason=why.reason or why.pruning,
        records=(*attempts.start.records, *before, *own, _record(attempts, best, why)),
        candidates=_candidates(attempts, best),
    )


def speed_words(race: LatencyResult | None, alone: str) -> str:
    """How fast a pruned graph ran compared with the whole one."""
    if race is None:
        return "speed unproven: nothing can be timed here"
    return (
        f"pruned it ran at {ratio(race.speed)} the speed of {alone} alone "
        f"({ratio_interval(race.ends)} at {configuration(race.config)}"
        + (": no decision, as the interval is too wide)" if race.verdict == "undecided" else ")")
    )


def _candidates(attempts: Attempts, best: Attempt | None) -> tuple[Candidate, ...]:
    """What was considered of the whole graph, then what was pruned."""
    whole = attempts.whole.candidates
    if best is not None:
        whole = tuple(_outdone(one) for one in whole)
    quantized = attempts.whole.quantized
    if attempts.judging is None and quantized is not None and attempts.made:
        quality = attempts.gauged(quantized.model)
        whole = tuple(one.model_copy(update={"quality": quality}) for one in whole)
    return (*whole, *(one.candidate(shipped=one is best) for one in attempts.made))


def _outdone(whole: Candidate) -> Candidate:
    """A candidate that a pruned one took the place of, if it would have shipped."""
    if not whole.shipped:
        return whole
    reason = f"{whole.reason}; then a pruned one took its place"
    return whole.model_copy(update={"shipped": False, "reason": reason})


def _record(attempts: Attempts, best: Attempt | None, why: Why) -> StageRecord:
    """What was tried and decided; its time is that of all attempts but for stages told apart."""
    own = () if best is None else best.decided.records[len(attempts.start.records) :]
    spent = time.perf_counter() - attempts.started - sum(record.seconds for record in own)
    verdict = "none" if best is None else "kept"
    tried = (
        Decision(
            subject=one.name, verdict="refused" if one.refused else "accepted", reason=one.reason
        )
        for one in attempts.made
    )
    return StageRecord(
        name="compare pruned graphs",
        seconds=max(0.0, spent),
        parameters={"asked": why.asked, "attempts": len(attempts.made)},
        notices=why.notices,
        decisions=(
            *tried,
            *why.findings,
            Decision(subject="pruning", verdict=verdict, reason=why.pruning),
        ),
    )
