"""Runs a model block by block: each is opened, run, and closed before the next."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

import onnx_ir as ir

from compressor.graph.files import tensors
from compressor.graph.session import open_session
from compressor.graph.tensor_bytes import forget_pages
from compressor.graph.tensors import Array, Arrays, TensorSpec

Opener = Callable[[], ir.Model]
"""Makes the graph of a block."""


class BlockRunner:
    """All blocks in turn as one runner; memory is that of one, and of what they hand on."""

    on_caller = False

    def __init__(
        self,
        blocks: Sequence[Opener],
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
    ) -> None:
        """Open none.

        Args:
            blocks: In order.
            inputs: Of the whole.
            outputs: Of the whole.
        """
        self._blocks, self.inputs, self.outputs = blocks, inputs, outputs
        self._reads = [self._names(block) for block in blocks]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing stays open."""

    def run(self, feeds: Arrays) -> dict[str, Array]:
        """Run once and fetch every output."""
        known = {spec.name: feeds[spec.name] for spec in self.inputs}
        for block, needed in self.steps():
            known |= ran(block(), known)
            known = {name: array for name, array in known.items() if name in needed}
        return {spec.name: known[spec.name] for spec in self.outputs}

    def steps(self) -> Iterator[tuple[Opener, set[str]]]:
        """Each block, and what is needed of all that is known once it has been run."""
        wanted = {spec.name for spec in self.outputs}
        for index, block in enumerate(self._blocks):
            yield block, wanted.union(*self._reads[index + 1 :])

    def bind(self, feeds: Arrays) -> Callable[[], Any]:
        """The same; blocks are not timed together."""
        return lambda: self.run(feeds)

    @staticmethod
    def _names(block: Opener) -> set[str]:
        return {value.name or "" for value in block().graph.inputs}


def ran(block: ir.Model, known: Arrays) -> dict[str, Array]:
    """The outputs of a block for some of what is known."""
    return next(each_run(block, [known]))


def each_run(block: ir.Model, calls: Iterable[Arrays]) -> Iterator[dict[str, Array]]:
    """The outputs of a block for each of several calls, in one session, which is closed then."""
    session = open_session(block, threads=0, spin=False)
    names = [value.name or "" for value in block.graph.outputs]
    wanted = [value.name for value in session.get_inputs()]
    try:
        for known in calls:
            feeds = {name: known[name] for name in wanted}
            yield dict(zip(names, session.run(names, feeds), strict=True))
    finally:
        del session
        forget_pages(tensors(block))
