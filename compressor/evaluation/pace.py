"""How fast the processor itself is at the moment, where no counter tells.

Two virtual processors are often two threads of one core, and the other one may be somebody else's,
even on another virtual machine. Neither CPU time nor steal counts that, nor a clock that is turned
down for heat: the same instructions just take longer. And not all alike: beside a neighbour a loop
in Python took 1.5 times as long, float convolutions 1.35 times and the same in INT8 1.65 times, so
that 1.98 became 1.63, for seconds or for minutes, with nobody at work who is counted.

So a loop of fixed work is timed beside what is measured, and its time is held against the shortest
that this process has seen. A process that never has the core to itself cannot know that.
"""

from collections.abc import Callable
from typing import Protocol

FULL = 1.25
"""Times the shortest loop that still count as the whole core: up to there ratios move by 4 %."""
_WORK = range(1500)
"""Additions of small integers: some 50 µs, all of it issuing instructions, none of it waiting."""
_WARM = 20

Nanoseconds = Callable[[], int]


class Pace(Protocol):
    """Meter of the processor's speed."""

    @property
    def fastest(self) -> float:
        """Nanoseconds of the shortest loop so far."""
        ...

    def look(self) -> float:
        """Nanoseconds of a loop now."""
        ...


class LoopPace:
    """Times the loop by the clock of the thread, so that waiting for a processor does not count."""

    def __init__(self, clock: Nanoseconds) -> None:
        """Warm up.

        Args:
            clock: Nanoseconds of the calling thread on a processor.
        """
        self._clock = clock
        self.fastest = float("inf")
        for _ in range(_WARM):
            self.look()

    def look(self) -> float:
        """Nanoseconds of a loop now."""
        start, total = self._clock(), 0
        for number in _WORK:
            total += number
        taken = float(self._clock() - start)
        self.fastest = min(self.fastest, taken)
        return taken
