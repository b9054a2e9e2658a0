"""Stored samples on their way to batches: numbered, cut, joined."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from calibration.sources.base import Fields

Rows = slice | npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Chunk:
    """Consecutive samples: their fields, and the index of each in the source."""

    fields: Fields
    index: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.index)

    def rows(self, which: Rows) -> "Chunk":
        """Some of the samples: views for a slice, copies for a mask."""
        fields = {name: array[which] for name, array in self.fields.items()}
        return Chunk(fields, self.index[which])


def numbered(stream: Iterator[Fields]) -> Iterator[Chunk]:
    """Give every sample its index in the source."""
    start = 0
    for fields in stream:
        count = len(next(iter(fields.values())))
        yield Chunk(fields, np.arange(start, start + count))
        start += count


def rebatched(chunks: Iterator[Chunk], size: int) -> Iterator[Chunk]:
    """Cut and join chunks of any size into chunks of `size`; the last may be smaller.

    Holds no more than one batch and the chunks that its ends lie in.
    """
    held: list[Chunk] = []
    missing = size
    for chunk in chunks:
        offset = 0
        while offset < len(chunk):
            piece = chunk.rows(slice(offset, offset + missing))
            held.append(piece)
            offset += len(piece)
            missing -= len(piece)
            if missing == 0:
                yield _joined(held)
                held, missing = [], size
    if held:
        yield _joined(held)


def _joined(pieces: list[Chunk]) -> Chunk:
    if len(pieces) == 1:
        return pieces[0]
    fields = {
        name: np.concatenate([piece.fields[name] for piece in pieces]) for name in pieces[0].fields
    }
    return Chunk(fields, np.concatenate([piece.index for piece in pieces]))
