"""Arrays of samples that lie in files of their own, as they were written one batch after the other.

They are what a model computes half way, for as many samples as do not fit into memory: files are
read in chunks, and none is ever mapped.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from calibration.sources.base import Axes, Fields, first_axes, length_along, rows_per_chunk
from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec


@dataclass(frozen=True)
class Spooled:
    """One array in a file, samples along its first axis.

    Attributes:
        path: Holds nothing but the values, one sample after the other.
        dtype: Their type.
        shape: Of all samples.
    """

    path: Path
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def rows(self, start: int, stop: int) -> Array:
        """Some samples.

        Raises:
            DataError: The file ends before them.
        """
        each = prod(self.shape[1:])
        with self.path.open("rb") as file:
            file.seek(start * each * self.dtype.itemsize)
            found = np.fromfile(file, self.dtype, (stop - start) * each)
        if found.size != (stop - start) * each:
            raise DataError(f"{self.path}: expected samples {start} to {stop - 1}, it ends early")
        return found.reshape(stop - start, *self.shape[1:])


class Spool:
    """Writes arrays to files, a batch at a time."""

    def __init__(self, folder: Path) -> None:
        """Nothing is written yet.

        Args:
            folder: Where the files go.
        """
        self._folder = folder
        self._files: dict[str, BinaryIO] = {}
        self._found: dict[str, Spooled] = {}

    def add(self, arrays: Mapping[str, Array]) -> None:
        """The next samples of some arrays.

        Raises:
            DataError: They are of other sizes than those before.
        """
        for name, array in arrays.items():
            known = self._found.get(name)
            if known is None:
                path = self._folder / f"{len(self._found):04}.bin"
                known = Spooled(path, array.dtype, (0, *array.shape[1:]))
                self._files[name] = path.open("wb")
            if array.shape[1:] != known.shape[1:]:
                raise DataError(
                    f"{name!r} has samples of {list(array.shape[1:])} and of "
                    f"{list(known.shape[1:])}: a model that is worked on block by block (--memory) "
                    "takes samples of one size",
                    hint="Pad or cut them to one length, or leave --memory out.",
                )
            np.ascontiguousarray(array).tofile(self._files[name])
            shape = (known.shape[0] + len(array), *known.shape[1:])
            self._found[name] = Spooled(known.path, known.dtype, shape)

    def close(self) -> dict[str, Spooled]:
        """Name → what was written."""
        for file in self._files.values():
            file.close()
        return dict(self._found)


class SpooledSource:
    """Samples of several spooled arrays, or some that follow each other."""

    calls = False
    endless = False

    def __init__(self, arrays: Mapping[str, Spooled], first: int, stop: int) -> None:
        """Read nothing yet.

        Args:
            arrays: Name → array.
            first: The first sample.
            stop: The one behind the last.
        """
        self.description = "(what the blocks before make)"
        self._arrays, self._first, self._stop = dict(arrays), first, stop
        self.specs = tuple(
            TensorSpec(name, one.dtype, (stop - first, *one.shape[1:]))
            for name, one in arrays.items()
        )
        self.labels: Array | None = None

    def count(self, axes: Axes) -> int | None:
        """How many samples there are."""
        return length_along(self.specs, axes)

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of all samples."""
        yield {name: (self._stop - self._first, *a.shape[1:]) for name, a in self._arrays.items()}

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Read the files in pieces."""
        axes = first_axes(self.specs) if axes is None else axes
        rows = rows_per_chunk(self.specs, axes)
        for start in range(self._first, self._stop, rows):
            stop = min(start + rows, self._stop)
            yield {name: self._arrays[name].rows(start, stop) for name in axes}
