"""Prunes as far as a quality budget allows, where nothing else says how far.

The largest share that keeps the budget on the search samples is found by bisection. Those that
keep it and are faster than the whole graph are confirmed in rising order of their share.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx_ir as ir

from compressor.errors import PruningError
from compressor.recipe.goal import time_words
from compressor.results.format import percent
from compressor.results.records import Decision
from compressor.search.acceptance import Acceptance
from compressor.search.bisection import Bracket, bisect
from compressor.search.candidate import Candidate, Outcome
from compressor.search.pruning.candidates import PrunedCandidates
from compressor.search.pruning.outcome import Why, ships_pruned, ships_whole, speed_words

PART = 1 / 4
"""Of the training, that candidates get before it is known which of them is wanted."""
PROMISING = 2.0
"""Times the allowed loss that a candidate may have after that part: the whole brings back more."""
FULLY = 3
"""Candidates that get the whole training at most, the furthest first."""
WHOLE = Bracket(holds=0.0, fails=1.0)
FINEST = 1 / 8
"""Shares between the largest accepted and the least refused that are not told apart."""


def afford(candidates: PrunedCandidates, spent: float) -> Outcome:
    """The fastest pruned graph that keeps the budget for certain; else the whole graph.

    Args:
        candidates: What can be made of the graph; `whole` has been searched within the budget.
        spent: Seconds since the search began: all that was done in them is done for each again.
    """
    acceptance, session = candidates.acceptance, candidates.session
    why = Why(f"--max-drop {acceptance.asked}", "")
    try:
        if pruned_by_bisection(candidates, spent):
            asked = time_words(session.recipe.budget.time)
            over = f"the time budget of {asked} ended the pruning"
            why = replace(why, notices=(over,))
        if candidates.trainer is not None:
            why = replace(why, findings=(_trained_further(candidates, spent),))
    except PruningError as error:
        why = replace(why, notices=(f"pruning was given up: {error.message}",))
    faster = [one for one in candidates.made if one.candidate.accepted]
    faster = [one for one in faster if _is_faster(candidates, one)]
    ladder = sorted(faster, key=lambda one: one.candidate.share or 0.0)
    best, findings = _confirmed(candidates, acceptance, ladder)
    why = replace(why, findings=(*why.findings, *findings))
    if best is None:
        return _whole(candidates, why, _why_none(candidates, faster))
    race = candidates.against_whole(best)
    told = speed_words(race, candidates.precision)
    if race is None or race.verdict != "faster":
        return _whole(candidates, why, f"{told}, so that nothing was pruned")
    share = percent(best.candidate.share or 0.0)
    gone = f"{share} {candidates.unit} removed, as far as the budget allows: {told}"
    return ships_pruned(candidates, best, replace(why, pruning=told, reason=gone))


def _trained_further(candidates: PrunedCandidates, spent: float) -> Decision:
    """Go on where candidates were refused, with a part of the training; the furthest get it all.

    Returns:
        What training bought, as a share of the cost.
    """
    without = _most_accepted(candidates)
    known = Bracket(holds=without, fails=1.0)
    pruned_by_bisection(
        candidates, spent, known, lambda one: candidates.trained(one, PART), _is_hopeless
    )
    shares = (one.candidate.share or 0.0 for one in candidates.made if _is_promising(one, without))
    for share in sorted(set(shares), reverse=True)[:FULLY]:
        found = next(one for one in candidates.made if one.candidate.share == share)
        if candidates.trained(found).candidate.accepted or _is_late(candidates, spent):
            break
    bought = _most_accepted(candidates)
    reason = f"{percent(bought)} {candidates.unit} could go, {percent(without)} without training"
    verdict = "further" if bought > without else "no further"
    return Decision(subject="training", verdict=verdict, reason=reason)


def _is_late(candidates: PrunedCandidates, spent: float) -> bool:
    limit = candidates.session.recipe.budget.seconds
    return limit is not None and spent + candidates.seconds >= limit


def _is_hopeless(one: Candidate) -> bool:
    """Whether it lost so much after a part of the training that the whole will not do."""
    judged = one.judged
    if judged is None or judged.accepted:
        return False
    return judged.judgement is None or judged.loss > PROMISING * judged.judgement.allowed


def _is_promising(one: Outcome, without: float) -> bool:
    """Whether the whole training may make it the furthest that keeps the budget."""
    return (one.candidate.share or 0.0) >= without and not _is_hopeless(one.candidate)


def _most_accepted(candidates: PrunedCandidates) -> float:
    shares = (one.candidate.share or 0.0 for one in candidates.made if one.candidate.accepted)
    return max(shares, default=0.0)


def pruned_by_bisection(
    candidates: PrunedCandidates,
    spent: float,
    start: Bracket = WHOLE,
    improved: Callable[[Outcome], Outcome] = lambda one: one,
    fails: Callable[[Candidate], bool] = lambda one: one.refused,
) -> bool:
    """Try shares; whether time ended that before the steps were fine enough.

    Args:
        candidates: What can be made of the graph.
        spent: Seconds since the search began; the longest that a share is expected to take.
        start: What is known to hold, and to fail.
        improved: What is done to each candidate before it counts.
        fails: Whether it does not hold.
    """
    timer, limit = candidates.session.timer, candidates.session.recipe.budget.seconds
    began, longest, is_late = timer.now() - spent, spent, False

    def attempt(share: float, known: Bracket) -> Bracket | None:
        nonlocal longest
        begun = timer.now()
        target = candidates.full * (1 - share)
        found = (candidates.foreseen(target) or improved(candidates.at(target))).candidate
        longest = max(longest, timer.now() - begun)
        reached = found.share or 0.0
        if fails(found):
            return Bracket(known.holds, min(reached, share))
        if reached < share and known.fails == 1:
            return None  # there is no more to remove
        # Where a larger share was made with blocks, and channels alone do not get so far, what
        # is between may be reached with blocks again.
        return Bracket(max(share, reached), known.fails)

    def until(known: Bracket) -> bool:
        nonlocal is_late
        if known.fails - known.holds <= FINEST:
            return True
        is_late = limit is not None and timer.now() - began + longest >= limit
        return is_late

    bisect(start, attempt, until)
    return is_late


def _is_faster(candidates: PrunedCandidates, one: Outcome) -> bool:
    return candidates.race is not None and one.candidate.speed > candidates.race.speed


def _confirmed(
    candidates: PrunedCandidates, acceptance: Acceptance, ladder: Sequence[Outcome]
) -> tuple[Outcome | None, tuple[Decision, ...]]:
    """The fastest of those confirmed one after the other, the whole graph before them."""
    findings: list[Decision] = []

    def holds(name: str, shipped: ir.Model) -> bool:
        found = acceptance.confirms(shipped)
        verdict = "confirmed" if found.accepted else "not confirmed"
        findings.append(Decision(subject=name, verdict=verdict, reason=found.words))
        return found.accepted

    if not ladder:
        return None, ()
    best: Outcome | None = None
    with candidates.session.progress.stage("confirm"):
        # Float computes what the original does, and keeps any budget without proof.
        plan = candidates.whole.plan
        is_float = plan.ship == "float" and plan.sparse is None
        if not is_float and not holds("whole", candidates.whole.shipped):
            return None, tuple(findings)
        for one in ladder:
            if not holds(one.candidate.name, one.shipped):
                break
            if best is None or one.candidate.speed > best.candidate.speed:
                best = one
    return best, tuple(findings)


def _why_none(candidates: PrunedCandidates, faster: Sequence[Outcome]) -> str:
    if not candidates.made:
        return "nothing was pruned"
    if faster:
        return "the confirming samples refused what was pruned, so that nothing was"
    if any(one.candidate.accepted for one in candidates.made):
        return f"no pruned graph that kept the budget was faster than {candidates.precision} alone"
    return "no pruned graph kept the budget, so that nothing was pruned"


def _whole(candidates: PrunedCandidates, why: Why, told: str) -> Outcome:
    reason = f"{candidates.whole.reason}; {told}"
    return ships_whole(candidates, replace(why, pruning=told, reason=reason))
