"""Rounds of two runners in turn, or of one alone: what was taken in each, and when it is enough."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from compressor.evaluation.clocks import Clocks
from compressor.evaluation.load import Load
from compressor.evaluation.pace import FULL
from compressor.evaluation.pairing import FloatArray, estimate

LOOKS = (0.25, 0.5, 1.0, 2.0)
"""Seconds at which it is asked whether the rounds are enough; the last time is when time is over.
The interval is made for no more looks than that (`pairing.ALPHA`)."""
MAX_ROUNDS = 4000
WANTED_ROUNDS = 10
"""Taken even where `seconds` are over, by up to as much again."""
MIN_ROUNDS = 6
"""Taken even then: fewer say nothing about spread."""
LEAST_WHOLE = 0.05
"""Share of the rounds that has to have had the whole core: fewer may only have looked so."""
PATIENCE = 15
"""Times `seconds`, after which even `MIN_ROUNDS` are not waited for."""
QUIET = 0.10
"""Share of the machine that others may take in a round on several threads."""
AROUND = 200_000_000
"""Nanoseconds before and behind a round that count, too."""
KEPT = 0.01
"""Share of a sample's CPU time: more wall time than that means that the processor was taken."""
LEAST_GAP = 5_000
"""Nanoseconds below which that is never said."""

_MS = 1_000_000
_SPIN = 50 * _MS
"""Nanoseconds that a runner works untimed while the other one's threads spin out."""
_SHORTEST = 200_000
"""Nanoseconds of a sample. Reading both clocks costs about 500: a four-hundredth of this."""
_BURST = 20 * _MS
"""Nanoseconds of samples taken once the other one's threads are at rest."""
_MOST_IN_BURST = 20
_WINDOW = 5
_STABLE = 0.05
_LEAST_BLOCKED = 3

Inference = Callable[[], None]


@dataclass(frozen=True)
class TurnPlan:
    """A turn: the runner works untimed for `wait` nanoseconds, then for so many `samples`."""

    wait: float
    samples: int


def plan_of(slower: float, *, threaded: bool) -> TurnPlan:
    """The plan for inferences of so many nanoseconds; long ones, which sway little, do not wait."""
    if not threaded:
        return TurnPlan(wait=1 if slower < 10 * _MS else 0, samples=1)  # one inference warms caches
    burst = min(_MOST_IN_BURST, math.ceil(_BURST / max(slower, _SHORTEST)))
    return TurnPlan(wait=_SPIN if slower < 1000 * _MS else 0, samples=burst)


def repeats_of(nanoseconds: float) -> int:
    """Inferences of one sample."""
    return max(1, math.ceil(_SHORTEST / max(nanoseconds, 1.0)))


@dataclass(frozen=True)
class Warm:
    """A runner whose times are stable.

    Attributes:
        nanoseconds: Time of one inference, near enough to choose the length of a sample.
        blocks: Whether it waits in an inference: for a device, or asleep.
    """

    nanoseconds: float
    blocks: bool


def warm_up(run: Inference, limit: float, clocks: Clocks) -> Warm:
    """Run until the median of five inferences is within 5 % of that of the five before.

    Args:
        run: One inference.
        limit: Seconds after which it has to do.
        clocks: What to time with.
    """
    deadline = clocks.wall() + limit * 1e9
    times: list[float] = []
    blocked: list[int] = []
    while True:
        before = clocks.blocked() if clocks.blocked else 0
        times.append(_sample(run, 1, clocks)[0])
        blocked.append((clocks.blocked() if clocks.blocked else 0) - before)
        if clocks.wall() >= deadline or _is_stable(times):
            break
    often = len(blocked) >= _LEAST_BLOCKED and float(np.median(blocked)) >= 1
    return Warm(float(np.median(times[-_WINDOW:])), often)


def _is_stable(times: Sequence[float]) -> bool:
    if len(times) < 2 * _WINDOW:
        return False
    before, now = np.median(times[-2 * _WINDOW : -_WINDOW]), np.median(times[-_WINDOW:])
    return bool(abs(now - before) <= _STABLE * before)


@dataclass
class Course:
    """Rounds as they are taken.

    Attributes:
        clocks: What to time with.
        load: Watches the machine.
        seconds: How long to measure, unless less is enough.
        on_thread: Whether CPU time of the calling thread is what an inference takes.
        wall: Nanoseconds of every round: of each runner, its samples.
        cpu: Nanoseconds of the thread's CPU time, in the same order.
        spans: When each round began and ended.
        loops: Nanoseconds of the longest loop of `pace` around its turns; 0 where there is none.
    """

    clocks: Clocks
    load: Load
    seconds: float
    on_thread: bool
    wall: list[list[list[float]]] = field(default_factory=list)
    cpu: list[list[list[float]]] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    loops: list[float] = field(default_factory=list)
    _looked: int = 0

    def take(
        self,
        runs: Sequence[Inference],
        repeats: Sequence[int],
        plan: TurnPlan,
        after: Callable[[int], None] = lambda index: None,
    ) -> None:
        """Give every runner a turn per round, in alternating order, until it is enough.

        Args:
            runs: An inference of each.
            repeats: Inferences of a sample of each.
            plan: What a turn is.
            after: Is told, behind each sample, which runner it was of.
        """
        order = list(range(len(runs)))
        started = self.clocks.wall()
        while not self._is_over((self.clocks.wall() - started) / 1e9):
            begun = self.clocks.wall()
            turns: list[list[tuple[float, float]]] = [[] for _ in runs]
            loops = [self._loop()]
            for index in order:
                _work_untimed(runs[index], plan.wait, self.clocks)
                for _ in range(plan.samples):
                    turns[index].append(_sample(runs[index], repeats[index], self.clocks))
                    after(index)
                loops.append(self._loop())
                self.load.look()
            self.wall.append([[wall for wall, _ in turn] for turn in turns])
            self.cpu.append([[cpu for _, cpu in turn] for turn in turns])
            self.spans.append((begun, self.clocks.wall()))
            self.loops.append(max(loops))
            order.reverse()
        self.load.look(at_once=True)

    def walls(self) -> FloatArray:
        """Nanoseconds, of shape (runners, rounds, samples)."""
        return np.asarray(self.wall).swapaxes(0, 1)

    def cpus(self) -> FloatArray:
        """Nanoseconds of the thread's CPU time, of the same shape as `walls`."""
        return np.asarray(self.cpu).swapaxes(0, 1)

    def kept_core(self) -> FloatArray:
        """Which samples kept the processor; see `kept`."""
        return kept(self.walls(), self.cpus())

    def slowness(self) -> FloatArray:
        """Each round's factor by which the core was slower than it can be; 1 where unknown."""
        if not (self.on_thread and self.clocks.pace):
            return np.ones(len(self.loops))
        return np.maximum(np.asarray(self.loops) / self.clocks.pace.fastest, 1.0)

    def undisturbed(self) -> FloatArray:
        """Which rounds are to be counted if there are enough of them."""
        if self.on_thread:
            return np.asarray(self.slowness() <= FULL, np.float64)
        return self.quiet()

    def quiet(self) -> FloatArray:
        """Which rounds others took little of; 1 for all where that is unknown."""
        shares = (self.load.foreign(a - AROUND, b + AROUND) for a, b in self.spans)
        return np.array([float(share is None or share < QUIET) for share in shares])

    def logs(self) -> FloatArray:
        """log(baseline / result) of each round."""
        return logs_of(self.cpus() if self.on_thread else self.walls())

    def _is_over(self, elapsed: float) -> bool:
        rounds = len(self.spans)
        if rounds < 2:
            return False
        if elapsed >= PATIENCE * self.seconds or rounds >= MAX_ROUNDS:
            return True
        if rounds < MIN_ROUNDS:
            return False
        if rounds < WANTED_ROUNDS:
            return elapsed >= 2 * self.seconds
        if elapsed >= self.seconds:
            return self._has_waited(elapsed)
        return self._is_look(elapsed) and self._is_enough()

    def _is_look(self, elapsed: float) -> bool:
        """Whether a time to look was passed since it was asked last."""
        if len(self.wall[0]) < 2 or not self.on_thread:
            return False
        passed = sum(look <= elapsed for look in LOOKS if look < self.seconds)
        due, self._looked = passed > self._looked, passed
        return due

    def _has_waited(self, elapsed: float) -> bool:
        """Whether undisturbed rounds are enough, or there is no hope of that in twice the time."""
        good = int(self.undisturbed().sum())
        if good < WANTED_ROUNDS // 4 or elapsed >= 2 * self.seconds:
            return True
        return good >= max(WANTED_ROUNDS, LEAST_WHOLE * len(self.spans))

    def _is_enough(self) -> bool:
        """Whether more rounds would change nothing: of those on a core of which all was ours."""
        good = self.undisturbed() > 0
        if good.sum() < WANTED_ROUNDS:
            return False
        return estimate(self.logs()[good], self.load.foreign() or 0.0).is_enough

    def _loop(self) -> float:
        return self.clocks.pace.look() if self.on_thread and self.clocks.pace else 0.0


def kept(walls: FloatArray, cpus: FloatArray) -> FloatArray:
    """Which samples kept the processor: 1 where wall - CPU < max(5 µs, 1 % of CPU)."""
    return np.asarray(walls - cpus < np.maximum(LEAST_GAP, KEPT * cpus), np.float64)


def logs_of(times: FloatArray) -> FloatArray:
    """log(baseline / result) of the medians of each round, of times (2, rounds, samples)."""
    middle = np.maximum(np.median(times, axis=2), 1.0)
    return np.asarray(np.log(middle[0] / middle[1]), np.float64)


def _work_untimed(run: Inference, wait: float, clocks: Clocks) -> None:
    """At least one inference, unless there is nothing to wait for."""
    if not wait:
        return
    begun = clocks.wall()
    run()
    while clocks.wall() - begun < wait:
        run()


def _sample(run: Inference, repeats: int, clocks: Clocks) -> tuple[float, float]:
    """Mean nanoseconds of `repeats` inferences in a row: that pass, and of the thread.

    The clock of the thread is read outermost: a thread is likely to lose its processor there.
    """
    thread = clocks.thread or clocks.wall
    on = thread()
    start = clocks.wall()
    for _ in range(repeats):
        run()
    end = clocks.wall()
    return (end - start) / repeats, (thread() - on) / repeats
