"""Prunes to what the user asked for, within the quality budget.

A goal that only a measurement can tell (speed, latency, size) is approached by secant steps on the
cost that the allocation goes by. Where the budget refuses, less is removed, by bisection on the
share.
"""

import tempfile
from pathlib import Path

import onnx_ir as ir

from compressor.errors import PruningError
from compressor.recipe.goal import Goal
from compressor.results.format import percent
from compressor.results.measurements import LatencyResult
from compressor.search.candidate import Decided
from compressor.search.pruning.candidates import Attempt, Attempts
from compressor.search.pruning.outcome import Why, ships_pruned, ships_whole, speed_words
from compressor.search.pruning.summary import CostKind

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


def reach(attempts: Attempts, goal: Goal) -> Decided:
    """The attempt that reaches the goal, as far as the budget allows; else the whole graph."""
    way = _Way(attempts, goal)
    try:
        target = way.first()
        if target >= attempts.full:
            done = f"{goal.flag} is reached without pruning"
            return ships_whole(attempts, Why(goal.flag, done))
        best = attempts.at(way.approached(target) if goal.measured else target)
        if not best.refused:
            return _kept(attempts, goal, best)
        smaller = way.step_back(best)
    except PruningError as error:
        given_up = f"pruning was given up: {error.message}"
        return ships_whole(attempts, Why(goal.flag, given_up))
    if smaller is None:
        nothing = "no pruned graph kept the budget, so that nothing was pruned"
        held = Why(goal.flag, nothing, held_back=nothing, notices=_unmet(goal, nothing))
        return ships_whole(attempts, held)
    allowed = f"the budget allows {percent(smaller.share)} {attempts.unit} to be removed"
    return _kept(attempts, goal, smaller, allowed)


def _kept(attempts: Attempts, goal: Goal, best: Attempt, held_back: str | None = None) -> Decided:
    """The best attempt, unless the whole graph is faster at the precision that ships."""
    race = attempts.against_whole(best)
    told = speed_words(race, attempts.precision)
    slower = race is not None and race.verdict == "slower"
    if slower and not attempts.bench.recipe.quantize.keep_slower:
        reverted = f"{told}, so the pruning was reverted (--keep-slower keeps it)"
        return ships_whole(attempts, Why(goal.flag, reverted))
    gone = f"{percent(best.share)} {attempts.unit} removed: {told}"
    notices = () if held_back is None else _unmet(goal, held_back)
    return ships_pruned(
        attempts, best, Why(goal.flag, told, gone, held_back=held_back, notices=notices)
    )


def _unmet(goal: Goal, held_back: str) -> tuple[str, ...]:
    return (f"{goal.flag} was not met: {held_back}",)


class _Way:
    """How far it is to a goal, and which cost to try next."""

    def __init__(self, attempts: Attempts, goal: Goal) -> None:
        self._attempts, self._goal = attempts, goal

    def first(self) -> float:
        """The cost to begin with."""
        attempts = self._attempts
        if self._goal.kind == "threshold":
            return 0.0  # all that the limits let go
        if not self._goal.measured:
            return attempts.full * (1 - self._goal.amount)
        return attempts.full * self._amount(attempts.whole.shipped, attempts.race)

    def approached(self, target: float) -> float:
        """The cost at which a draft reaches the goal and hardly more; else the nearest found."""
        attempts = self._attempts
        best: tuple[tuple[bool, float], float] | None = None
        seen: set[float] = set()
        for _ in range(ROUNDS):
            pruned, shipped = attempts.drafted(target)
            reached = self._amount(shipped, attempts.raced(shipped))
            distance = self._distance(reached)
            if best is None or distance < best[0]:
                best = distance, target
            again = target * reached / (1 + CLOSE / 2)
            still = pruned.cost in seen or abs(again - target) < 1e-3 * attempts.full
            seen.add(pruned.cost)
            if 1 <= reached <= 1 + CLOSE or still or again >= attempts.full:
                break
            target = again
        return target if best is None else best[1]

    def step_back(self, refused: Attempt) -> Attempt | None:
        """The largest share that the budget accepts."""
        attempts = self._attempts
        fails, holds, best = refused.share, 0.0, None
        for _ in range(STEPS):
            middle = (fails + holds) / 2
            found = attempts.at(attempts.full * (1 - middle))
            if found.refused:
                fails = min(found.share, middle)
            else:
                holds, best = found.share, found
        return best

    def _amount(self, shipped: ir.Model, race: LatencyResult | None) -> float:
        """How far from the goal something is: below 1 it has to become smaller by that factor."""
        if self._goal.kind == "size":
            return self._goal.amount / self._bytes(shipped)
        if race is None:
            why = self._attempts.bench.untimed(shipped)
            raise PruningError(f"{self._goal.flag} cannot be held: {why}")
        if self._goal.kind == "speedup":
            return race.speed / self._goal.amount
        return self._goal.amount / (race.milliseconds[1] / 1e3)

    def _bytes(self, model: ir.Model) -> int:
        with tempfile.TemporaryDirectory(prefix="compressor-") as folder:
            built = self._attempts.bench.target.draft(model, Path(folder))
            return sum(file.stat().st_size for file in built.files)

    def _distance(self, reached: float) -> tuple[bool, float]:
        """From the goal: what meets it comes before all that does not."""
        return not self._goal.is_met(reached), abs(reached - 1)
