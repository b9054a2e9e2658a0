"""When a graph of a loop gave its first result, and how fast the others followed.

Of text these are the time to the first token and the time of each token after it, of a denoiser
that of a step. Both are what a user waits: what the loop does between two calls is in them.
"""

from collections.abc import Callable, Mapping

from compressor.evaluation.clocks import Clocks
from compressor.graph.tensors import Array, Arrays
from compressor.pipelines.loop import Opener, UserLoop
from compressor.pipelines.together import Together
from compressor.pipelines.watched import Watched
from exporters.base import Runner

FIRST, EACH = "first", "each"
"""Parts of a unit: until a graph's first result is there, and each call after that."""

Moment = tuple[int, int]
"""Nanoseconds of the clock and of the thread."""


class Ends:
    """When the first and the last call of every graph ended in the last run.

    Attributes:
        begun: When the run began.
        first: Graph → end of its first call.
        last: Graph → end of its last call so far.
        calls: Graph → how many there were.
    """

    def __init__(self, clocks: Clocks | None = None) -> None:
        """Nothing has run."""
        self._clocks = clocks or Clocks()
        self.begin()

    def begin(self) -> None:
        """A run begins."""
        self.first: dict[str, Moment] = {}
        self.last: dict[str, Moment] = {}
        self.calls: dict[str, int] = {}
        self.begun = self._now()

    def ended(self, name: str) -> None:
        """A call of a graph has ended."""
        now = self._now()
        self.first.setdefault(name, now)
        self.last[name] = now
        self.calls[name] = self.calls.get(name, 0) + 1

    def parts(self) -> dict[str, tuple[float, float]]:
        """`GRAPH first` and `GRAPH each` → nanoseconds, of graphs with more than one call."""
        found: dict[str, tuple[float, float]] = {}
        for name, calls in self.calls.items():
            if calls < 2:
                continue
            first, last = self.first[name], self.last[name]
            found[f"{name} {FIRST}"] = _between(self.begun, first, 1)
            found[f"{name} {EACH}"] = _between(first, last, calls - 1)
        return found

    def _now(self) -> Moment:
        thread = self._clocks.thread or self._clocks.wall
        return self._clocks.wall(), thread()


def _between(start: Moment, end: Moment, count: int) -> tuple[float, float]:
    return (end[0] - start[0]) / count, (end[1] - start[1]) / count


class Rated(Together):
    """A loop that tells, of its last run, the parts of each graph."""

    def __init__(self, loop: UserLoop, openers: Mapping[str, Opener], clocks: Clocks) -> None:
        """Open nothing yet."""
        self._ends = Ends(clocks)
        super().__init__(loop, {name: self._noted(name, one) for name, one in openers.items()})

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Generate, and note when calls end."""
        self._ends.begin()
        return super().run(feeds)

    def parts(self) -> dict[str, tuple[float, float]]:
        """Part → nanoseconds that passed, and of the thread."""
        return self._ends.parts()

    def _noted(self, name: str, opener: Opener) -> Opener:
        return lambda: _Noted(opener(), lambda: self._ends.ended(name))


class _Noted(Watched):
    """A runner of which it is noted when its calls end."""

    def __init__(self, runner: Runner, ended: Callable[[], None]) -> None:
        super().__init__(runner)
        self._ended = ended

    def run(self, feeds: Arrays) -> dict[str, Array]:
        made = super().run(feeds)
        self._ended()
        return made
