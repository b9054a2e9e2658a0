"""What a loop feeds its graphs: recorded, so that it calibrates them.

A loop calls a graph many times in a run, and what it feeds drifts from the first call to the
last. So a run is divided into phases by the number of the call, and each phase keeps a sample of
its calls that is drawn by seed (Vitter 1985, algorithm R). Calls lie on disk: memory does not grow
with their number.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np

from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import Runner

PHASES = 16
"""Into which a run is divided."""

Record = Callable[[str, Arrays], None]
"""Is told the graph and what it is fed."""


class Trace:
    """Calls of the graphs of a loop.

    Attributes:
        seen: Graph → all of its calls.
    """

    def __init__(self, folder: Path, capacity: int, seed: int, calls: Mapping[str, int]) -> None:
        """Nothing is recorded yet.

        Args:
            folder: Where calls lie, as long as it is there.
            capacity: Calls of a graph that are kept, at most.
            seed: By which they are drawn.
            calls: Graph → how often a run calls it, as one has shown.
        """
        self._calls = calls
        self.seen: defaultdict[str, int] = defaultdict(int)
        self._folder, self._capacity = folder, capacity
        self._rng = np.random.default_rng(seed)
        self._order = np.random.default_rng(seed + 1)
        self._now: defaultdict[str, int] = defaultdict(int)
        self._kept: defaultdict[tuple[str, int], list[Path]] = defaultdict(list)
        self._count: defaultdict[tuple[str, int], int] = defaultdict(int)
        self._files = 0

    def began(self) -> None:
        """A run begins."""
        self._now.clear()

    def record(self, name: str, feeds: Arrays) -> None:
        """A graph is called."""
        index, self._now[name] = self._now[name], self._now[name] + 1
        self.seen[name] += 1
        key = name, self._phase(name, index)
        room = max(1, self._capacity // self._phases(name))
        self._count[key] += 1
        kept = self._kept[key]
        if len(kept) < room:
            self._files += 1
            kept.append(self._folder / f"{self._files}.npz")
            _write(kept[-1], feeds)
            return
        place = int(self._rng.integers(self._count[key]))
        if place < room:
            _write(kept[place], feeds)

    def calls(self, name: str) -> Callable[[], Iterator[dict[str, Array]]]:
        """The calls that were kept of a graph, in an order that is drawn."""
        paths = [
            path
            for (graph, _), kept in sorted(self._kept.items())
            if graph == name
            for path in kept
        ]
        order = [paths[i] for i in self._order.permutation(len(paths))]

        def read() -> Iterator[dict[str, Array]]:
            for path in order:
                with np.load(path, allow_pickle=False) as stored:
                    yield {key: stored[key] for key in stored.files}

        read.__qualname__ = f"calls of graph {name}"
        return read

    def _phases(self, name: str) -> int:
        return max(1, min(PHASES, self._calls.get(name, 1), self._capacity))

    def _phase(self, name: str, index: int) -> int:
        """The part of a run that a call lies in; a longer run than was seen adds to the last."""
        phases, calls = self._phases(name), self._calls.get(name, 1)
        return min(index * phases // max(calls, 1), phases - 1)


def _write(path: Path, feeds: Arrays) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **feeds)


class Recorded:
    """A runner whose feeds are recorded."""

    def __init__(self, name: str, runner: Runner, record: Record) -> None:
        """Record under a name."""
        self._name, self._runner, self._record = name, runner, record

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._runner.__exit__(*raised)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Those of the runner."""
        return self._runner.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Those of the runner."""
        return self._runner.outputs

    @property
    def on_caller(self) -> bool:
        """As the runner."""
        return self._runner.on_caller

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Record, and run."""
        self._record(self._name, feeds)
        return self._runner.run(feeds)

    def bind(self, feeds: Arrays) -> Callable[[], None]:
        """As the runner: what is timed is not recorded."""
        return self._runner.bind(feeds)


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
