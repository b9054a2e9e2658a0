"""A folder of `.npz` files: shards of one data set, in natural order of their names."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from calibration.sources.base import Axes, Fields, check_same
from calibration.sources.npz import NpzSource
from compressor.graph.tensors import Array, TensorSpec


class NpzFolderSource:
    """The files one after the other: part-2 before part-10, the same arrays in each.

    Their sizes may differ, as those of calls do.
    """

    endless = False

    def __init__(self, folder: Path, where: str) -> None:
        self.description = str(folder)
        paths = sorted(folder.glob("*.npz"), key=lambda path: natural_order(path.name))
        self._shards = tuple(NpzSource(path, f"{where}, {path.name}") for path in paths)
        first = self._shards[0]
        for path, shard in zip(paths, self._shards, strict=True):
            check_same(first.specs, shard.specs, f"{where}, {path.name}")
        self.specs: tuple[TensorSpec, ...] = first.specs
        self.calls = len(self._shards) > 1
        self.labels: Array | None = None

    def count(self, axes: Axes) -> int | None:
        """The lengths of all files together."""
        return sum(shard.count(axes) or 0 for shard in self._shards)

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Read file after file."""
        for shard in self._shards:
            yield from shard.chunks(axes)

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes in each file."""
        for shard in self._shards:
            yield from shard.survey()


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """A sorting key that takes runs of digits for numbers."""
    return [
        (0, int(part), part) if part.isdecimal() else (1, 0, part)
        for part in re.split(r"(\d+)", name)
        if part
    ]
