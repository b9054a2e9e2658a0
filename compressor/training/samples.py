"""Training data in memory or mapped from a file, so that any sample can be drawn at any step.

Samples of one shape lie together. The order of an epoch depends on the seed and its number alone,
so that a run that goes on after a kill sees what it would have seen.
"""

import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.graph.batch import BatchAxis, rows_of
from compressor.graph.tensors import Array, Arrays
from compressor.system.scratch import locked_folder, remove
from compressor.training.augmentation import rng_of

READ = 64
Places = npt.NDArray[np.intp]
"""Which samples of a group."""
Call = tuple[Arrays, Array | None, int]
"""Inputs, labels or None, and the number of samples."""


@dataclass(frozen=True)
class Samples:
    """Samples to draw from.

    Attributes:
        calls: Groups of samples of one shape: inputs with all of a group, where its samples lie in
            each, labels, and how many there are.
        fixed: Samples of a call, where the graph fixes that.
        folder: What keeps mapped arrays.
    """

    calls: tuple["_Group", ...]
    fixed: int | None = None
    folder: "_Folder | None" = field(default=None, repr=False)

    def __len__(self) -> int:
        return sum(group.count for group in self.calls)

    @property
    def has_labels(self) -> bool:
        """Whether each sample has one."""
        return all(group.labels is not None for group in self.calls)

    def steps_of_epoch(self, batch: int) -> int:
        """Batches of one pass; what is left of a group is in the next one's order."""
        return max(1, sum(max(1, group.count // self._size(group, batch)) for group in self.calls))

    def batches(self, batch: int, seed: int, epoch: int) -> list[tuple["_Group", Places]]:
        """The batches of one pass in their order: a group, and which of its samples."""
        rng = rng_of(seed, epoch, "order")
        found = []
        for group in self.calls:
            size = self._size(group, batch)
            order = rng.permutation(group.count) if group.divides else np.arange(group.count)
            count = max(1, group.count // size)
            whole = np.resize(order, count * size) if group.divides else order
            found += [(group, part) for part in whole.reshape(count, -1)]
        order = rng.permutation(len(found))
        return [found[place] for place in order]

    def in_order(self, batch: int) -> Iterator[Call]:
        """All samples once; a fixed batch is filled up by repeating the last."""
        for group in self.calls:
            size = self._size(group, batch)
            for start in range(0, group.count, size):
                rows = np.arange(start, min(start + size, group.count))
                if self.fixed is not None and group.divides:
                    rows = np.resize(rows, size)
                yield group.rows(rows)

    def _size(self, group: "_Group", batch: int) -> int:
        if not group.divides:
            return group.count
        return self.fixed or min(batch, group.count)


@dataclass(frozen=True, eq=False)
class _Group:
    """Samples of one shape."""

    inputs: Arrays
    axes: Mapping[str, BatchAxis | None]
    labels: Array | None
    count: int
    divides: bool

    def rows(self, which: Places) -> Call:
        """Some of them."""
        if not self.divides:
            return self.inputs, self.labels, self.count
        labels = None if self.labels is None else self.labels[which]
        return rows_of(self.inputs, self.axes, which, self.count), labels, len(which)


class _Folder:
    """A folder that lives as long as the samples in it."""

    def __init__(self) -> None:
        self.path, lock = locked_folder()
        weakref.finalize(self, remove, self.path, lock)


def gather(data: CalibrationSet, *, fixed: int | None, memory: int, batch: int = READ) -> Samples:
    """Read a set whole.

    Args:
        data: Bound to the inputs of the graph.
        fixed: Samples of a call, where the graph fixes that.
        memory: Bytes above which arrays lie in a file of their own.
        batch: Samples that are read at once.

    Raises:
        DataError: It is damaged.
    """
    groups: dict[tuple[object, ...], list[Batch]] = {}
    total, folder = 0, None
    for number, part in enumerate(data.batches(fixed or batch)):
        divides = all(axis is not None for axis in part.sample_axes.values())
        total += sum(array.nbytes for array in part.inputs.values())
        if total > memory:
            folder = folder or _Folder()
            kept = {name: _mapped(array, folder) for name, array in part.inputs.items()}
            part = replace(part, inputs=kept)  # noqa: PLW2901 - the same, out of memory
        groups.setdefault(_key(part) if divides else (number,), []).append(part)
    return Samples(tuple(_joined(parts, folder) for parts in groups.values()), fixed, folder)


def _key(part: Batch) -> tuple[object, ...]:
    """What samples that may share a call have in common: all sizes but their number."""
    found: list[object] = []
    for name, array in part.inputs.items():
        lies = part.sample_axes[name]
        at = None if lies is None else lies.axis
        found.append((name, tuple(n for axis, n in enumerate(array.shape) if axis != at)))
    return tuple(found)


def _joined(parts: list[Batch], folder: _Folder | None) -> _Group:
    first = parts[0]
    axes = first.sample_axes
    divides = all(axis is not None for axis in axes.values())
    inputs: dict[str, Array] = {}
    for name, lies in axes.items():
        pieces = [part.inputs[name] for part in parts]
        if lies is None or len(pieces) == 1:
            inputs[name] = pieces[0]
        elif folder is None:
            inputs[name] = np.concatenate(pieces, lies.axis)
        else:
            inputs[name] = _joined_on_disk(pieces, lies.axis, folder)
    labels = None
    if all(part.labels is not None for part in parts):
        labels = np.concatenate([part.labels for part in parts if part.labels is not None])
    return _Group(inputs, axes, labels, sum(map(len, parts)), divides)


def _mapped(array: Array, folder: _Folder) -> Array:
    """The array in a file, of which the system keeps in memory what it has room for."""
    path = _new_file(folder)
    np.save(path, array)
    found: Array = np.load(path, mmap_mode="r")
    return found


def _joined_on_disk(pieces: list[Array], axis: int, folder: _Folder) -> Array:
    """One array in a file, piece by piece."""
    shape = list(pieces[0].shape)
    shape[axis] = sum(piece.shape[axis] for piece in pieces)
    dtype = pieces[0].dtype
    whole: Array = np.lib.format.open_memmap(_new_file(folder), "w+", dtype, tuple(shape))
    start = 0
    for piece in pieces:
        end = start + piece.shape[axis]
        whole[(slice(None),) * axis + (slice(start, end),)] = piece
        start = end
    return whole


def _new_file(folder: _Folder) -> Path:
    return folder.path / f"{len(list(folder.path.iterdir()))}.npy"
