"""What ships after pruning was tried, and what the report tells of the candidates."""

from dataclasses import dataclass, replace

from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.graph_report import Candidate as ToldCandidate
from compressor.results.measurements import LatencyResult
from compressor.results.records import Decision, StageRecord
from compressor.search.candidate import Outcome
from compressor.search.pruning.candidates import PrunedCandidates


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


def ships_whole(candidates: PrunedCandidates, why: Why) -> Outcome:
    """Nothing is pruned."""
    whole = candidates.whole
    reason = why.reason or f"{why.pruning}; {whole.reason}"
    return replace(
        whole.then(_record(candidates, None, why), reason=reason),
        held_back=why.held_back,
        considered=_considered(candidates, None),
    )


def ships_pruned(candidates: PrunedCandidates, best: Outcome, why: Why) -> Outcome:
    """A pruned candidate is the result; what was done to the whole graph before is told, too."""
    start = candidates.start.candidate
    before = (
        record.model_copy(update={"name": f"{record.name}, whole graph"})
        for record in candidates.whole.candidate.since(start)
    )
    told = replace(start, parent=start, records=tuple(before))
    own = best.candidate.since(start)
    shipped = replace(best.candidate, parent=told, records=own)
    return replace(
        replace(best, candidate=shipped).then(
            _record(candidates, best, why), reason=why.reason or why.pruning
        ),
        held_back=why.held_back,
        considered=_considered(candidates, best),
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


def _considered(candidates: PrunedCandidates, best: Outcome | None) -> tuple[ToldCandidate, ...]:
    """What was considered of the whole graph, then what was pruned."""
    whole = candidates.whole.considered
    if best is not None:
        whole = tuple(_outdone(one) for one in whole)
    quantized = candidates.whole.quantized is not None
    if candidates.acceptance.asked is None and quantized and candidates.made:
        judged = candidates.gauged(candidates.whole_quantized())
        quality = None if judged is None else judged.quality
        whole = tuple(one.model_copy(update={"quality": quality}) for one in whole)
    return (*whole, *(one.candidate.told(shipped=one is best) for one in candidates.made))


def _outdone(whole: ToldCandidate) -> ToldCandidate:
    """A candidate that a pruned one took the place of, if it would have shipped."""
    if not whole.shipped:
        return whole
    reason = f"{whole.reason}; then a pruned one took its place"
    return whole.model_copy(update={"shipped": False, "reason": reason})


def _record(candidates: PrunedCandidates, best: Outcome | None, why: Why) -> StageRecord:
    """What was tried and decided; its time is that of all but the stages that are told apart."""
    own = () if best is None else best.candidate.since(candidates.start.candidate)
    spent = candidates.seconds - sum(record.seconds for record in own)
    tried = (
        Decision(
            subject=one.candidate.name,
            verdict="refused" if one.candidate.refused else "accepted",
            reason=one.candidate.reason,
        )
        for one in candidates.made
    )
    verdict = "none" if best is None else "kept"
    return StageRecord(
        name="compare pruned graphs",
        seconds=max(0.0, spent),
        parameters={"asked": why.asked, "attempts": len(candidates.made)},
        notices=why.notices,
        decisions=(
            *tried,
            *why.findings,
            Decision(subject="pruning", verdict=verdict, reason=why.pruning),
        ),
    )
