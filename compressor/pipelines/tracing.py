"""What a loop feeds its graphs: recorded, so that it calibrates them.

A loop calls a graph many times in a run, and what it feeds drifts from the first call to the
last. So a run is divided into phases by the number of the call, and each phase keeps a sample of
its calls that is drawn by seed (Vitter 1985, algorithm R). Calls lie on disk, where they take a
bounded number of bytes: memory does not grow with their number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from calibration.collect import MEMORY
from compressor.errors import UsageError
from compressor.graph.tensors import Array, Arrays
from compressor.pipelines.watched import Watched
from exporters.base import CallShapes, Runner

PHASES = 16
"""Into which a run is divided."""

Record = Callable[[str, Arrays], None]
"""Is told the graph and what it is fed."""


@dataclass(frozen=True)
class _Call:
    """A call on disk: the numbers of its arrays one behind the other, and here what they are.

    Every pass over the data reads every call, and `.npz` takes ten times as long to open as to
    read where arrays are small.
    """

    path: Path
    arrays: tuple[tuple[str, np.dtype[np.generic], tuple[int, ...]], ...]
    nbytes: int

    @classmethod
    def written(cls, path: Path, feeds: Arrays) -> "_Call":
        """Write it.

        Raises:
            UsageError: An array is of Python objects.
        """
        for name, array in feeds.items():
            if array.dtype.hasobject:
                raise UsageError(
                    f"input {name!r} is called with Python objects, which cannot be recorded",
                    hint="Pass numbers, as arrays of one type.",
                )
        path.write_bytes(b"".join(array.tobytes() for array in feeds.values()))
        kinds = tuple((name, array.dtype, array.shape) for name, array in feeds.items())
        return cls(path, kinds, sum(array.nbytes for array in feeds.values()))

    def read(self) -> dict[str, Array]:
        """Input → array."""
        stored, start, found = self.path.read_bytes(), 0, dict[str, Array]()
        for name, kind, shape in self.arrays:
            found[name] = np.ndarray(shape, kind, stored, start)
            start += found[name].nbytes
        return found


class Trace:
    """Calls of the graphs of a loop.

    Attributes:
        seen: Graph → all of its calls.
        shapes: Graph → shapes of the inputs of a call → how many had them. It grows with the
            variety of shapes, not with the number of calls.
    """

    def __init__(
        self,
        folder: Path,
        capacity: int,
        seed: int,
        calls: Mapping[str, int],
        memory: int = MEMORY,
    ) -> None:
        """Nothing is recorded yet.

        Args:
            folder: Where calls lie, as long as it is there.
            capacity: Calls of a graph that are kept, at most.
            seed: By which they are drawn.
            calls: Graph → how often a run calls it, as one has shown.
            memory: Bytes that all that is kept takes. Where calls are larger, fewer are kept of the
                graph that takes most, down to one of each phase.
        """
        self._calls = calls
        self.seen: defaultdict[str, int] = defaultdict(int)
        self.shapes: defaultdict[str, Counter[CallShapes]] = defaultdict(Counter)
        self._folder, self._capacity = folder, capacity
        self._rng = np.random.default_rng(seed)
        self._order = np.random.default_rng(seed + 1)
        self._now: defaultdict[str, int] = defaultdict(int)
        self._kept: defaultdict[tuple[str, int], list[_Call]] = defaultdict(list)
        self._count: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._files = 0
        self._memory = memory
        self._rooms: dict[str, int] = {}
        self._fills: dict[str, Mapping[str, float]] = {}

    def began(self) -> None:
        """A run begins."""
        self._now.clear()

    def record(self, name: str, feeds: Arrays) -> None:
        """A graph is called."""
        index, self._now[name] = self._now[name], self._now[name] + 1
        self.seen[name] += 1
        self.shapes[name][shapes_of(feeds)] += 1
        key = name, self._phase(name, index)
        room = self._rooms.setdefault(name, max(1, self._capacity // self._phases(name)))
        self._count[key] += 1
        kept = self._kept[key]
        if len(kept) < room and self._count[key] == len(kept) + 1:
            self._files += 1
            kept.append(_Call.written(self._folder / str(self._files), feeds))
        else:
            place = int(self._rng.integers(self._count[key]))
            if place >= len(kept):
                return
            kept[place] = _Call.written(kept[place].path, feeds)
        self._shrink()

    def is_scalar(self, name: str, key: str) -> bool:
        """Whether an input of a graph is one number wherever it is passed."""
        return all(shape == () for call in self.shapes[name] for one, shape in call if one == key)

    def fill(self, name: str, defaults: Mapping[str, float]) -> None:
        """Let the calls of a graph that leave scalars out have them, too."""
        self._fills[name] = defaults
        counted: Counter[CallShapes] = Counter()
        for call, count in self.shapes[name].items():
            whole = {**dict.fromkeys(defaults, ()), **dict(call)}
            counted[tuple((key, whole[key]) for key in sorted(whole))] += count
        self.shapes[name] = counted

    def kept(self, name: str) -> int:
        """How many calls of a graph are kept."""
        return sum(len(kept) for (graph, _), kept in self._kept.items() if graph == name)

    def calls(self, name: str) -> Callable[[], Iterator[dict[str, Array]]]:
        """The calls that were kept of a graph, in an order that is drawn."""
        calls = [
            call
            for (graph, _), kept in sorted(self._kept.items(), key=itemgetter(0))
            if graph == name
            for call in kept
        ]
        order = [calls[i] for i in self._order.permutation(len(calls))]
        fills = self._filled(name, order)

        def read() -> Iterator[dict[str, Array]]:
            for call in order:
                yield {**fills, **call.read()}

        read.__qualname__ = f"calls of graph {name}"
        return read

    def _filled(self, name: str, calls: list[_Call]) -> dict[str, Array]:
        """What is left out, of the type that it has where it is passed."""
        fills, kinds = self._fills.get(name, {}), dict[str, np.dtype[np.generic]]()
        for call in calls if fills else ():
            kinds |= {key: kind for key, kind, _ in call.arrays if key in fills}
        return {key: np.asarray(value, kinds.get(key)) for key, value in fills.items()}

    def _shrink(self) -> None:
        """Keep fewer calls where all take more than they may."""
        while sum(map(self._taken, self._rooms)) > self._memory:
            wide = [name for name, room in self._rooms.items() if room > 1]
            if not wide:
                return
            self._halve(max(wide, key=self._taken))

    def _taken(self, name: str) -> int:
        """Bytes of the calls of a graph."""
        kept = (calls for (graph, _), calls in self._kept.items() if graph == name)
        return sum(call.nbytes for calls in kept for call in calls)

    def _halve(self, name: str) -> None:
        """Keep half as many calls of each phase, drawn: what is left is a sample of all, too."""
        self._rooms[name] = room = self._rooms[name] // 2
        for (graph, _), kept in self._kept.items():
            while graph == name and len(kept) > room:
                kept.pop(int(self._rng.integers(len(kept)))).path.unlink()

    def _phases(self, name: str) -> int:
        return max(1, min(PHASES, self._calls.get(name, 1), self._capacity))

    def _phase(self, name: str, index: int) -> int:
        """The part of a run that a call lies in; a longer run than was seen adds to the last."""
        phases, calls = self._phases(name), self._calls.get(name, 1)
        return min(index * phases // max(calls, 1), phases - 1)


def shapes_of(feeds: Arrays) -> CallShapes:
    """The shapes of one call."""
    return tuple((name, feeds[name].shape) for name in sorted(feeds))


class Recorded(Watched):
    """A runner whose feeds are recorded."""

    def __init__(self, name: str, runner: Runner, record: Record) -> None:
        """Record under a name."""
        super().__init__(runner)
        self._name, self._record = name, record

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Record, and run."""
        self._record(self._name, feeds)
        return super().run(feeds)


def recorded(
    openers: Mapping[str, Callable[[], Runner]], record: Record
) -> dict[str, Callable[[], Runner]]:
    """Openers of the same graphs, whose calls are recorded.

    Args:
        openers: Graph → opens it.
        record: Is told each call.
    """

    def opener(name: str, opened: Callable[[], Runner]) -> Callable[[], Runner]:
        return lambda: Recorded(name, opened(), record)

    return {name: opener(name, opened) for name, opened in openers.items()}
