"""Prunes as far as a quality budget allows, where nothing else says how far.

Shares of the predicted time are tried by bisection on the samples that are searched on: a share
that the budget refuses is never exceeded. Those that keep it and run faster than the whole graph
are then confirmed, in rising order behind the whole graph, until one is not: so a graph that is
pruned to the edge of the budget does not cost the run a result that keeps it. The fastest of those
confirmed ships, if it beats the whole graph in a race at length.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from compressor.errors import PruningError
from compressor.results.format import percent
from compressor.results.records import Decision
from compressor.search.acceptance import Judging
from compressor.search.candidate import Decided
from compressor.search.pruning.candidates import Attempt, Attempts
from compressor.search.pruning.outcome import Why, ships_pruned, ships_whole, speed_words

FINEST = 1 / 8
"""Shares between the largest accepted and the least refused that are not told apart."""


def afford(attempts: Attempts, judging: Judging, started: float) -> Decided:
    """The fastest pruned graph that keeps the budget for certain; else the whole graph.

    Args:
        attempts: What can be made of the graph; `whole` has been searched within the budget.
        judging: The budget.
        started: When the search began, by `time.perf_counter`.
    """
    why = Why(f"--max-drop {judging.budget.asked}", "")
    try:
        if _bisect(attempts, judging, started):
            over = f"the time budget of {judging.recipe.budget.time} ended the pruning"
            why = replace(why, notices=(over,))
    except PruningError as error:
        why = replace(why, notices=(f"pruning was given up: {error.message}",))
    faster = [one for one in attempts.made if one.accepted and _is_faster(attempts, one)]
    best, findings = _confirmed(attempts, judging, sorted(faster, key=lambda one: one.share))
    why = replace(why, findings=findings)
    if best is None:
        return _whole(attempts, why, _why_none(attempts, faster))
    race = attempts.against_whole(best)
    told = speed_words(race, attempts.precision)
    if race is None or race.verdict != "faster":
        return _whole(attempts, why, f"{told}, so that nothing was pruned")
    gone = f"{percent(best.share)} {attempts.unit} removed, as far as the budget allows: {told}"
    return ships_pruned(attempts, best, replace(why, pruning=told, reason=gone))


def _bisect(attempts: Attempts, judging: Judging, started: float) -> bool:
    """Try shares; whether time ended that before the steps were fine enough."""
    holds, fails = 0.0, 1.0
    longest = time.perf_counter() - started  # all that was done to the whole graph is done again
    while fails - holds > FINEST:
        begun = time.perf_counter()
        limit = judging.recipe.budget.seconds
        if limit is not None and begun - started + longest >= limit:
            return True
        middle = (holds + fails) / 2
        found = attempts.at(attempts.full * (1 - middle))
        longest = max(longest, time.perf_counter() - begun)
        if found.refused:
            fails = min(found.share, middle)
        elif found.share < middle and fails == 1:
            return False  # there is no more to remove
        else:
            # Where a larger share was made with blocks, and channels alone do not get so far, what
            # is between may be reached with blocks again.
            holds = max(middle, found.share)
    return False


def _is_faster(attempts: Attempts, one: Attempt) -> bool:
    return attempts.race is not None and one.speed > attempts.race.speed


def _confirmed(
    attempts: Attempts, judging: Judging, ladder: Sequence[Attempt]
) -> tuple[Attempt | None, tuple[Decision, ...]]:
    """The fastest of those confirmed one after the other, the whole graph before them."""
    bench, findings = attempts.bench, list[Decision]()

    def holds(name: str, shipped: ir.Model) -> bool:
        found = judging.confirms(bench.prepared, bench.target, shipped)
        findings.append(
            Decision(
                subject=name,
                verdict="confirmed" if found.met else "not confirmed",
                reason=judging.told(found, found.met, "confirming"),
            )
        )
        return found.met

    if not ladder:
        return None, ()
    best: Attempt | None = None
    with bench.progress.stage("confirm"):
        # Float computes what the original does, and keeps any budget without proof.
        plan = attempts.whole.plan
        is_float = plan.ship == "float" and plan.sparse is None
        if not is_float and not holds("whole", attempts.whole.shipped):
            return None, tuple(findings)
        for one in ladder:
            if not holds(one.name, one.decided.shipped):
                break
            if best is None or one.speed > best.speed:
                best = one
    return best, tuple(findings)


def _why_none(attempts: Attempts, faster: Sequence[Attempt]) -> str:
    if not attempts.made:
        return "nothing was pruned"
    if faster:
        return "the confirming samples refused what was pruned, so that nothing was"
    if any(one.accepted for one in attempts.made):
        return f"no pruned graph that kept the budget was faster than {attempts.precision} alone"
    return "no pruned graph kept the budget, so that nothing was pruned"


def _whole(attempts: Attempts, why: Why, told: str) -> Decided:
    reason = f"{attempts.whole.reason}; {told}"
    return ships_whole(attempts, replace(why, pruning=told, reason=reason))
