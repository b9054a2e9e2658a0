"""Some of the samples of a stream: the first few, or one side of a random division in two."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from calibration.chunks import CallShape, Chunk
from compressor.errors import DataError


class SampleSelection(Protocol):
    """Lets some of the samples through, in their order."""

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filter a stream."""
        ...

    def count(self, available: int | None) -> int | None:
        """How many of `available` samples pass; None when it cannot be known."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class Take:
    """The first `limit` samples; no more of the stream is consumed than they need."""

    limit: int

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filter a stream."""
        left = self.limit
        for chunk in chunks:
            yield chunk.rows(slice(left))
            left -= len(chunk)
            if left <= 0:
                return

    def count(self, available: int | None) -> int | None:
        """How many of `available` samples pass."""
        return None if available is None else min(available, self.limit)

    def __str__(self) -> str:
        return f"first {self.limit}"


@dataclass(frozen=True)
class OfShape:
    """The samples of one shape."""

    shape: CallShape

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filter a stream."""
        return (chunk for chunk in chunks if chunk.shape == self.shape)

    def count(self, available: int | None) -> int | None:
        """None: the count is not known without a pass."""
        return None

    def __str__(self) -> str:
        return "those of one shape"


@dataclass(frozen=True)
class Part:
    """Exactly `chosen` of `total` samples, drawn uniformly by `seed`; or all the others.

    Selection sampling (Fan, Muller and Rezucha 1962; Knuth, TAOCP 2, 3.4.2, algorithm S): sample
    i is drawn with probability (still to draw) / (still to come). One pass, no memory, and the
    same division however the stream is cut into chunks.
    """

    total: int
    chosen: int
    seed: int
    complement: bool

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filter a stream of `total` samples."""
        generator = np.random.default_rng(self.seed)
        to_draw, to_come = self.chosen, self.total
        for chunk in chunks:
            mask: npt.NDArray[np.bool_] = np.zeros(len(chunk), np.bool_)
            for row, chance in enumerate(generator.random(len(chunk))):
                mask[row] = chance * to_come < to_draw
                to_draw -= int(mask[row])
                to_come -= 1
            yield chunk.rows(mask != self.complement)

    def count(self, available: int | None) -> int | None:
        """How many samples pass."""
        return self.total - self.chosen if self.complement else self.chosen

    def __str__(self) -> str:
        return f"{self.count(None)} of {self.total} samples, drawn by seed {self.seed}"


@dataclass(frozen=True)
class Stratum:
    """A class: how many samples it has, and how many of them are drawn."""

    label: int
    total: int
    chosen: int


@dataclass(frozen=True)
class ClassPart:
    """A `Part` of each class: algorithm S with counts of its own for every label.

    Attributes:
        field: The stored array of labels.
        strata: One a class.
        seed: Seed of the draw.
        complement: Whether the samples that are not drawn pass.
    """

    field: str
    strata: tuple[Stratum, ...]
    seed: int
    complement: bool

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filter the stream that the classes were counted in.

        Raises:
            DataError: It has a label that was not counted.
        """
        generator = np.random.default_rng(self.seed)
        left = {stratum.label: [stratum.chosen, stratum.total] for stratum in self.strata}
        for chunk in chunks:
            mask: npt.NDArray[np.bool_] = np.zeros(len(chunk), np.bool_)
            labels = chunk.fields[self.field].reshape(-1).tolist()
            chances = generator.random(len(chunk))
            for row, (label, chance) in enumerate(zip(labels, chances, strict=True)):
                if label not in left:
                    raise DataError(
                        f"{self.field!r}: expected the labels of the first pass, found {label} in "
                        f"sample {chunk.index[row]}",
                        hint="every pass must give the same samples in the same order",
                    )
                to_draw, to_come = left[label]
                mask[row] = chance * to_come < to_draw
                left[label] = [to_draw - int(mask[row]), to_come - 1]
            yield chunk.rows(mask != self.complement)

    def count(self, available: int | None) -> int | None:
        """How many samples pass."""
        chosen = sum(stratum.chosen for stratum in self.strata)
        return self._total - chosen if self.complement else chosen

    @property
    def _total(self) -> int:
        return sum(stratum.total for stratum in self.strata)

    def __str__(self) -> str:
        drawn = f"drawn class by class by seed {self.seed}"
        return f"{self.count(None)} of {self._total} samples, {drawn}"


def apportioned(counts: Mapping[int, int], chosen: int, seed: int) -> tuple[Stratum, ...]:
    """Draw from each class what is its due, rounded up or down at random; `chosen` in all.

    Systematic sampling over the classes in random order (Madow 1949, Annals of Mathematical
    Statistics 20): class c gets ⌊(E_c · chosen + r) / n⌋ - ⌊(E_c' · chosen + r) / n⌋, E the
    cumulated counts up to it and up to the one before, r uniform in 0 … n - 1. So every sample has
    the same chance, however rare its class is.

    Args:
        counts: Label → samples.
        chosen: How many samples to draw, at most all.
        seed: Seed of the rounding.
    """
    total = sum(counts.values())
    generator = np.random.default_rng([seed, total])
    order = [int(label) for label in generator.permutation(sorted(counts))]
    start = int(generator.integers(total))
    strata, end, before = [], 0, 0
    for label in order:
        end += counts[label]
        after = (end * chosen + start) // total
        strata.append(Stratum(label, counts[label], after - before))
        before = after
    return tuple(strata)


@dataclass(frozen=True)
class Shard:
    """Every `of`-th block of `block` samples, from the block number `index` on, counted from 0.

    Blocks, not samples, so that the batches of all shards together are those of one pass.
    """

    index: int
    of: int
    block: int

    def __call__(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Filter a stream."""
        position = 0
        for chunk in chunks:
            blocks = np.arange(position, position + len(chunk)) // self.block
            position += len(chunk)
            yield chunk.rows(blocks % self.of == self.index)

    def count(self, available: int | None) -> int | None:
        """How many of `available` samples pass."""
        if available is None:
            return None
        whole, rest = divmod(available, self.block)
        own = max(0, -(-(whole - self.index) // self.of))
        return own * self.block + (rest if whole % self.of == self.index else 0)

    def __str__(self) -> str:
        return f"shard {self.index + 1}/{self.of}"
