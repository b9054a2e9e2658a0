"""Stored samples on their way to batches: numbered, cut, joined."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from calibration.axes import FIRST, ONE, SampleAxis
from calibration.sources.base import Fields, check_even
from compressor.graph.tensors import Array

Rows = slice | npt.NDArray[np.bool_] | npt.NDArray[np.intp]

HELD_BYTES = 2**26
"""Samples of other shapes than the current one that wait for more of theirs, at most."""


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples of one shape.

    Attributes:
        fields: The stored arrays, with samples along the first dimension.
        index: The place of each sample in the source.
        shared: What belongs to all of them together, as it is stored.
        alike: A digest of what must be equal for samples to share a call; empty where nothing.
    """

    fields: Fields
    index: npt.NDArray[np.int64]
    shared: Fields = field(default_factory=dict)
    alike: str = ""

    def __len__(self) -> int:
        return len(self.index)

    @property
    def nbytes(self) -> int:
        """What its arrays take."""
        return sum(a.nbytes for a in (*self.fields.values(), *self.shared.values()))

    def rows(self, which: Rows) -> "Chunk":
        """Some of the samples: views for a slice, copies for a mask."""
        fields = {name: array[which] for name, array in self.fields.items()}
        return replace(self, fields=fields, index=self.index[which])

    @property
    def shape(self) -> "CallShape":
        """The shapes of a sample and of what is shared: what batches never mix."""
        rows = ((name, array.shape[1:]) for name, array in self.fields.items())
        shared = ((name, array.shape) for name, array in self.shared.items())
        return tuple(sorted([*rows, *shared]))


CallShape = tuple[tuple[str, tuple[int, ...]], ...]


def numbered(
    stream: Iterable[Fields], axes: Mapping[str, SampleAxis] | None = None, where: str = "data"
) -> Iterator[Chunk]:
    """Lay samples along the first dimension and give every one its index in the source.

    Args:
        stream: Arrays as they are stored.
        axes: Where the samples lie in each; along the first dimension where it is not said.
        where: Names the data, to begin messages with.

    Raises:
        DataError: Arrays differ in their number of samples.
    """
    start = 0
    for number, stored in enumerate(stream):
        chunk = _laid_out(stored, axes or {}, start, f"{where}, part {number}" if number else where)
        if len(chunk):
            yield chunk
        start += len(chunk)


def _laid_out(stored: Fields, axes: Mapping[str, SampleAxis], start: int, where: str) -> Chunk:
    lies = {name: axes.get(name, FIRST) for name in stored}
    sizes = {
        name: size
        for name, array in stored.items()
        if (size := lies[name].samples(array.shape)) is not None
    }
    check_even(sizes, where)
    samples = next(iter(sizes.values()), 1)
    fields, shared = {}, {}
    for name, array in stored.items():
        if lies[name].stored is not None or lies[name] == ONE:
            fields[name] = lies[name].rows(array)
        elif lies[name].taken is not None:
            fields[name] = lies[name].spread(array, samples)
        else:
            shared[name] = array
    alike = _digest(shared.values()) if shared else ""
    return Chunk(fields, np.arange(start, start + samples), shared, alike)


def rebatched(chunks: Iterator[Chunk], size: int, each: Sequence[str] = ()) -> Iterator[Chunk]:
    """Cut and join chunks of any size into chunks of `size`, in each samples of one shape.

    A chunk is smaller where no more samples of its shape come. Beside one batch, at most
    `HELD_BYTES` of samples of other shapes are held.

    Args:
        chunks: The samples.
        size: Samples of a chunk.
        each: Fields of which samples that share a call must have the same value.
    """
    held = _Held(size)
    for chunk in chunks:
        for part in _parts(chunk, each):
            yield from held.full(part)
    yield from held.rest()


class _Held:
    """Samples that wait for others of their shape, in the order in which the first came."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pieces: dict[tuple[CallShape, str], list[Chunk]] = {}
        self._bytes = 0

    def full(self, part: Chunk) -> Iterator[Chunk]:
        """Add samples of one shape; what is complete by them, or has waited too long."""
        key = (part.shape, part.alike)
        pieces = self._pieces.pop(key, [])
        self._bytes -= sum(piece.nbytes for piece in pieces)
        offset, missing = 0, self._size - sum(map(len, pieces))
        while offset < len(part):
            piece = part.rows(slice(offset, offset + missing))
            pieces.append(piece)
            offset += len(piece)
            missing -= len(piece)
            if missing == 0:
                yield _joined(pieces)
                pieces, missing = [], self._size
        while self._bytes > HELD_BYTES:
            yield self._oldest()
        if pieces:
            self._pieces[key] = pieces
            self._bytes += sum(piece.nbytes for piece in pieces)

    def rest(self) -> Iterator[Chunk]:
        """All that still waits."""
        while self._pieces:
            yield self._oldest()

    def _oldest(self) -> Chunk:
        pieces = self._pieces.pop(next(iter(self._pieces)))
        self._bytes -= sum(piece.nbytes for piece in pieces)
        return _joined(pieces)


def _parts(chunk: Chunk, each: Sequence[str]) -> Iterator[Chunk]:
    """The samples of a chunk by their values of the fields that a call has one of."""
    if not each:
        yield chunk
        return
    groups: dict[str, list[int]] = {}
    for row in range(len(chunk)):
        digest = _digest(chunk.fields[name][row] for name in each)
        groups.setdefault(digest, []).append(row)
    for digest, rows in groups.items():
        part = chunk.rows(np.array(rows))
        yield replace(part, alike=chunk.alike + digest)


def _digest(arrays: Iterable[Array]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _joined(pieces: Sequence[Chunk]) -> Chunk:
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    fields = {
        name: np.concatenate([piece.fields[name] for piece in pieces]) for name in first.fields
    }
    index = np.concatenate([piece.index for piece in pieces])
    return Chunk(fields, index, first.shared, first.alike)
