"""What one layer of the pruned graph should make of what it reads, piece by piece."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from calibration.frontier import Frontier, Values
from compressor.layerwise.im2col import Floats
from compressor.layerwise.layers import Layer
from compressor.layerwise.streams import Stream
from compressor.pruning.reconstruction.restriction import Restriction


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
    """

    layer: Layer
    stream: Stream | None
    then: Frontier
    now: Frontier
    restriction: Restriction
    aims: Mapping[str, str]
    room: int

    def __len__(self) -> int:
        """Batches."""
        return len(self.now)

    @property
    def aim(self) -> str:
        """What is aimed at, for the report."""
        return "residual stream" if self.stream is not None else "layer's output"

    def pieces(self, pick: Callable[[int], bool]) -> Iterator[Piece]:
        """Rows and targets of some of the batches."""
        x = self.layer.input.name or ""
        for now, wanted in self.batches(pick):
            for part, rows in self.layer.rows(now[x], self.room):
                yield Piece(rows, self.layer.targets(wanted, part))

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
        sides = zip(self.now.batches(names, pick), self.then.batches([aim], pick), strict=True)
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
