"""What one layer of the pruned graph should make of what it reads, piece by piece."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import ceil
from typing import Protocol

import onnx_ir as ir

from calibration.frontier import Frontier, Values
from compressor.layerwise.im2col import Floats
from compressor.layerwise.layers import Layer, Part
from compressor.layerwise.streams import Stream
from compressor.pruning.reconstruction.restriction import Restriction

FEW = 8
"""Batches of which none is left out."""
SPARSE = 1 / 32
"""Share of a sample's rows below which others of its rows are taken in place of other samples'."""


class Source(Protocol):
    """Where values of the original come from: a `Frontier`, or what was kept of them."""

    def batches(
        self, names: Sequence[str], pick: Callable[[int], bool]
    ) -> Iterator[Mapping[str, Values]]:
        """The named values, batch by batch."""
        ...


@dataclass(frozen=True)
class Piece:
    """Rows and what they should become.

    Attributes:
        rows: X, (groups, n, k).
        targets: y*, (groups, n, m).
    """

    rows: Floats
    targets: Floats


@dataclass(frozen=True)
class Problem:
    """A layer, and where its input and its target come from.

    Attributes:
        layer: The layer in the pruned graph.
        stream: The residual stream to aim at; None to aim at the layer's own output.
        then: The original, in front of the layer.
        now: The pruned graph, likewise.
        restriction: Maps values of the original to those of the pruned graph.
        aims: Value of the pruned graph → value of the original, where the names differ.
        room: Bytes that one piece may take.
        most: Rows per column of the layer that all batches together give, about; None for all.
        known: Batch → the targets of its pieces, where rows are drawn, once they were made.
    """

    layer: Layer
    stream: Stream | None
    then: Source
    now: Frontier
    restriction: Restriction
    aims: Mapping[str, str]
    room: int
    most: int | None = None
    known: dict[int, list[Floats]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Batches."""
        return len(self.now)

    @property
    def aim(self) -> str:
        """What is aimed at, for the report."""
        return "residual stream" if self.stream is not None else "layer's output"

    def pieces(self, pick: Callable[[int], bool]) -> Iterator[Piece]:
        """Rows and targets of some of the batches.

        A stream's target, y* less what else is added, does not change with the layer: where rows
        are drawn, which are few, theirs are kept, and the next time only the input is run.
        """
        x = self.layer.input.name or ""
        numbers = self.numbers(pick)
        if all(number in self.known for number in numbers):
            again = self.now.batches([x], set(numbers).__contains__)
            for number, now in zip(numbers, again, strict=True):
                drawn = self.rows(self.layer, now[x], number)
                for (_, rows), targets in zip(drawn, self.known[number], strict=True):
                    yield Piece(rows, targets)
            return
        for number, (now, wanted) in zip(numbers, self.batches(pick), strict=True):
            made = []
            for part, rows in self.rows(self.layer, now[x], number):
                made.append(self.layer.targets(wanted, part))
                yield Piece(rows, made[-1])
            if self.most is not None:
                self.known[number] = made

    def numbers(self, pick: Callable[[int], bool]) -> list[int]:
        """The batches that are picked, by number; every other where samples have rows enough."""
        found = [number for number in range(len(self)) if pick(number)]
        return found[::2] if self.is_halved and len(found) > 1 else found

    def rows(self, layer: Layer, x: Floats, number: int) -> Iterator[tuple[Part, Floats]]:
        """Rows of a layer in one batch, as many as are wanted; always the same of a number."""
        batches = ceil(len(self) / 2) if self.is_halved else len(self)
        most = None if self.most is None else ceil(self.most * layer.width / batches)
        return layer.rows(x, self.room, most, number)

    @cached_property
    def is_halved(self) -> bool:
        """Whether so few of a sample's rows are wanted that half of the samples have as many.

        Running the others takes longer than all that is made of their rows.
        """
        places = self.layer.places
        if self.most is None or places is None or len(self) < FEW:
            return False
        wanted = self.most * self.layer.width / (len(self) * self.now.batch)
        return wanted < SPARSE * places

    def batches(
        self, pick: Callable[[int], bool], more: Sequence[str] = ()
    ) -> Iterator[tuple[dict[str, Values], Values]]:
        """Values of the pruned graph and what the layer's output should be, batch by batch.

        Args:
            pick: Which batches, by number.
            more: Values wanted beside the layer's input.
        """
        x, o = self.layer.input.name or "", self.layer.output.name or ""
        a = self._reached.name or ""
        aim = self.aims.get(a, a)
        names = [x, *more] if self.stream is None else [x, o, a, *more]
        picked = set(self.numbers(pick)).__contains__
        sides = zip(
            self.now.batches(names, picked),
            self.then.batches([aim], picked),
            strict=True,
        )
        for now, then in sides:
            wanted = self.restriction(a, then[aim])
            if self.stream is not None:
                change = self.stream.pull(wanted - now[a], now[o].shape)
                assert change is not None, "a stream that is aimed at can be reached"
                wanted = now[o] + change
            yield now, wanted

    @property
    def _reached(self) -> ir.Value:
        return self.layer.output if self.stream is None else self.stream.value
