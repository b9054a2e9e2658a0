"""Prunes to what the user asked for, within the quality budget.

A goal that only a measurement can tell (speed, latency, size) is approached by secant steps on the
cost that the allocation goes by. Where the budget refuses, less is removed, by bisection on the
share.
"""

from pathlib import Path

import onnx_ir as ir

from compressor.errors import PruningError
from compressor.recipe.goal import Goal
from compressor.results.format import percent
from compressor.results.measurements import LatencyResult
from compressor.search.bisection import Bracket, bisect
from compressor.search.candidate import Outcome
from compressor.search.pruning.candidates import PrunedCandidates
from compressor.search.pruning.outcome import Why, ships_pruned, ships_whole, speed_words
from compressor.search.pruning.summary import CostKind
from compressor.system.scratch import scratch

ROUNDS = 4
"""Attempts at a measured goal."""
STEPS = 3
"""Smaller shares that are tried where the budget refuses."""
CLOSE = 0.03
"""Relative distance above a measured goal that needs no other attempt."""


def cost_of(goal: Goal) -> CostKind:
    """What the allocation goes by on the way to a goal."""
    if goal.timed:
        return "latency"
    return "params" if goal.kind in ("params", "size") else "macs"


def reach(candidates: PrunedCandidates, goal: Goal) -> Outcome:
    """The attempt that reaches the goal, as far as the budget allows; else the whole graph."""
    way = _Way(candidates, goal)
    try:
        target = way.first()
        if target >= candidates.full:
            done = f"{goal.flag} is reached without pruning"
            return ships_whole(candidates, Why(goal.flag, done))
        best = candidates.at(way.approached(target) if goal.measured else target)
        best = candidates.trained(best)
        if not best.candidate.refused:
            return _kept(candidates, goal, best)
        smaller = way.step_back(best)
    except PruningError as error:
        given_up = f"pruning was given up: {error.message}"
        return ships_whole(candidates, Why(goal.flag, given_up))
    if smaller is None:
        nothing = "no pruned graph kept the budget, so that nothing was pruned"
        held = Why(goal.flag, nothing, held_back=nothing, notices=_unmet(goal, nothing))
        return ships_whole(candidates, held)
    allowed = f"the budget allows {percent(_share(smaller))} {candidates.unit} to be removed"
    return _kept(candidates, goal, smaller, allowed)


def _kept(
    candidates: PrunedCandidates, goal: Goal, best: Outcome, held_back: str | None = None
) -> Outcome:
    """The best attempt, unless the whole graph is faster at the precision that ships."""
    race = candidates.against_whole(best)
    told = speed_words(race, candidates.precision)
    slower = race is not None and race.verdict == "slower"
    if slower and not candidates.session.recipe.quantize.keep_slower:
        reverted = f"{told}, so the pruning was reverted (--keep-slower keeps it)"
        return ships_whole(candidates, Why(goal.flag, reverted))
    gone = f"{percent(_share(best))} {candidates.unit} removed: {told}"
    notices = () if held_back is None else _unmet(goal, held_back)
    return ships_pruned(
        candidates, best, Why(goal.flag, told, gone, held_back=held_back, notices=notices)
    )


def _unmet(goal: Goal, held_back: str) -> tuple[str, ...]:
    return (f"{goal.flag} was not met: {held_back}",)


class _Way:
    """How far it is to a goal, and which cost to try next."""

    def __init__(self, candidates: PrunedCandidates, goal: Goal) -> None:
        self._candidates, self._goal = candidates, goal

    def first(self) -> float:
        """The cost to begin with."""
        candidates = self._candidates
        if self._goal.kind == "threshold":
            return 0.0  # all that the limits let go
        if not self._goal.measured:
            return candidates.full * (1 - self._goal.amount)
        return candidates.full * self._amount(candidates.whole.shipped, candidates.race)

    def approached(self, target: float) -> float:
        """The cost at which a draft reaches the goal and hardly more; else the nearest found."""
        candidates = self._candidates
        best: tuple[tuple[bool, float], float] | None = None
        seen: set[float] = set()
        for _ in range(ROUNDS):
            pruned, shipped = candidates.drafted(target)
            reached = self._amount(shipped, candidates.raced(shipped))
            distance = self._distance(reached)
            if best is None or distance < best[0]:
                best = distance, target
            again = target * reached / (1 + CLOSE / 2)
            still = pruned.cost in seen or abs(again - target) < 1e-3 * candidates.full
            seen.add(pruned.cost)
            if 1 <= reached <= 1 + CLOSE or still or again >= candidates.full:
                break
            target = again
        return target if best is None else best[1]

    def step_back(self, refused: Outcome) -> Outcome | None:
        """The largest share that the budget accepts, of a few that are tried."""
        candidates, best = self._candidates, list[Outcome]()
        left = iter(range(STEPS))

        def attempt(share: float, found: Bracket) -> Bracket:
            made = candidates.at(candidates.full * (1 - share))
            made = candidates.trained(made)
            if made.candidate.refused:
                return Bracket(found.holds, min(_share(made), share))
            best.append(made)
            return Bracket(_share(made), found.fails)

        start = Bracket(holds=0.0, fails=_share(refused))
        bisect(start, attempt, until=lambda _: next(left, None) is None)
        return best[-1] if best else None

    def _amount(self, shipped: ir.Model, race: LatencyResult | None) -> float:
        """How far from the goal something is: below 1 it has to become smaller by that factor."""
        if self._goal.kind == "size":
            return self._goal.amount / self._bytes(shipped)
        if race is None:
            why = self._candidates.session.untimed(shipped)
            raise PruningError(f"{self._goal.flag} cannot be held: {why}")
        if self._goal.kind == "speedup":
            return race.speed / self._goal.amount
        return self._goal.amount / (race.milliseconds[1] / 1e3)

    def _bytes(self, model: ir.Model) -> int:
        with scratch() as folder:
            built = self._candidates.session.target.draft(model, Path(folder))
            return built.file_bytes

    def _distance(self, reached: float) -> tuple[bool, float]:
        """From the goal: what meets it comes before all that does not."""
        return not self._goal.is_met(reached), abs(reached - 1)


def _share(made: Outcome) -> float:
    assert made.candidate.share is not None, "it was pruned"
    return made.candidate.share
