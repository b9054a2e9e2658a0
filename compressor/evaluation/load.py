"""What others took of the machine while something was measured."""

from bisect import bisect_left, bisect_right
from typing import NamedTuple

from compressor.evaluation.clocks import Clocks

EVERY = 50_000_000
"""Nanoseconds between looks: reading the counters takes some ten thousand."""
LEAST = 100_000_000
"""Nanoseconds below which a share says nothing: the counters move in steps of 10 ms."""


class _Mark(NamedTuple):
    wall: int
    busy: float
    own: float
    stolen: float


class Load:
    """Looks at the machine as time passes, and tells later who had it.

    The foreign share of a stretch of time is what the processors that may be used did beyond what
    this process did on them, over all that they could do:

        (busy - own) / (seconds · processors)

    A load average or a pressure would count the measurement itself.
    """

    def __init__(self, clocks: Clocks) -> None:
        """Begin now."""
        self._clocks = clocks
        self._marks: list[_Mark] = []
        self._processors = 1
        self._throttled = clocks.throttled()
        self.look(at_once=True)

    def look(self, *, at_once: bool = False) -> None:
        """Note the counters, unless they were noted a moment ago."""
        now = self._clocks.wall()
        if not at_once and self._marks and now - self._marks[-1].wall < EVERY:
            return
        machine = self._clocks.machine()
        if machine is None:
            return
        self._processors = machine.processors
        own = self._clocks.process() / 1e9
        self._marks.append(_Mark(now, machine.busy, own, machine.stolen))

    def foreign(self, begin: int | None = None, end: int | None = None) -> float | None:
        """The share, 0 to 1, that others took from `begin` to `end`; of all the time without.

        Args:
            begin: Nanoseconds of the wall clock.
            end: Nanoseconds of the wall clock.

        Returns:
            None where the system does not tell, or too little time has passed.
        """
        ends = self._between(begin, end)
        if ends is None:
            return None
        first, last = ends
        others = (last.busy - first.busy) - (last.own - first.own)
        return min(max(others / self._capacity(first, last), 0.0), 1.0)

    def stolen(self) -> float | None:
        """The share that the host of a virtual machine kept for itself."""
        ends = self._between(None, None)
        if ends is None:
            return None
        first, last = ends
        return min(max((last.stolen - first.stolen) / self._capacity(first, last), 0.0), 1.0)

    def throttled(self) -> float | None:
        """Seconds that a quota took since the beginning; None where there is none."""
        now = self._clocks.throttled()
        if now is None or self._throttled is None:
            return None
        return max(now - self._throttled, 0.0)

    def _between(self, begin: int | None, end: int | None) -> tuple[_Mark, _Mark] | None:
        """The marks around that time, or as far around it as there are any."""
        if len(self._marks) < 2:
            return None
        walls = [mark.wall for mark in self._marks]
        first = 0 if begin is None else max(bisect_right(walls, begin) - 1, 0)
        last = len(walls) - 1 if end is None else min(bisect_left(walls, end), len(walls) - 1)
        if walls[last] - walls[first] < LEAST:
            return None
        return self._marks[first], self._marks[last]

    def _capacity(self, first: _Mark, last: _Mark) -> float:
        return (last.wall - first.wall) / 1e9 * self._processors
