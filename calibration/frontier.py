"""A graph run from node to node over a whole data set, with what later nodes read kept.

What repairs or corrects layers walks them in order and needs at each what flows there. Running the
graph from its inputs for every layer would cost the square of its depth; here what crosses the
frontier is kept for all samples where it fits, and later runs start from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.taps import feeds_of
from compressor.errors import GraphError
from compressor.graph.batch import fixed_batch
from compressor.graph.parts import Parts
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.graph.walks import reads

Values = npt.NDArray[Any]
"""Values as the runtime returns them."""

_KEPT = frozenset(
    {ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT16, ir.DataType.UINT16}
)  # fmt: skip
"""Integers that are kept in place of what DequantizeLinear makes of them: they are smaller, and a
kernel that computes with them needs to see the node."""
_UNKNOWN = frozenset(
    kind for kind in ir.DataType if kind.name.startswith(("FLOAT8", "FLOAT4", "INT4", "UINT4"))
) | {ir.DataType.BFLOAT16}
"""What the runtime does not hand out as arrays."""


class Frontier:
    """The values of a model over a data set, from a frontier on that only moves forward.

    Weights of nodes behind the frontier may not change; those ahead of it may.
    """

    def __init__(
        self, model: ir.Model, data: CalibrationSet, *, batch: int, room: int, threads: int = 0
    ) -> None:
        """Stand in front of the first node.

        Args:
            model: The graph; it is not changed.
            data: Bound to the model's inputs.
            batch: Samples per run; a graph with its batch baked in uses that one.
            room: Bytes that may be kept.
            threads: Threads of the runtime; 0 is all.
        """
        self._model, self._data, self._parts = model, data, Parts(model)
        self._fixed = fixed_batch(input_specs(model))
        self._batch, self._room, self._threads = self._fixed or batch, room, threads
        self._kept: list[Mapping[str, Values]] | None = None
        self._known = [spec.name for spec in input_specs(model)]
        self._types: dict[str, ir.TypeProtocol] = {}
        self._alive = {self._parts.value(name): None for name in self._known}
        self._passed: set[ir.Node] = set()
        self._counts: list[int] = []

    @property
    def batch(self) -> int:
        """Samples per run."""
        return self._batch

    def __len__(self) -> int:
        """Batches."""
        return self._data.calls(self._batch)

    def batches(
        self, names: Sequence[str], pick: Callable[[int], bool] = lambda batch: True
    ) -> Iterator[dict[str, Values]]:
        """The named values, batch by batch; samples that only fill a fixed batch up are there too.

        Args:
            names: Graph inputs or values that the frontier has not left behind.
            pick: Which batches, by number.

        Raises:
            GraphError: The runtime fails on the data.
        """
        computed = [name for name in dict.fromkeys(names) if name not in self._known]
        session = None
        if computed:
            session = open_session(self.part(computed), threads=self._threads, spin=False)
        wanted = {value.name for value in session.get_inputs()} if session else set()
        for feeds in (feeds for number, feeds in enumerate(self.feeds()) if pick(number)):
            found: dict[str, Values] = {n: feeds[n] for n in names if n in feeds}
            if session is not None:
                given = {name: array for name, array in feeds.items() if name in wanted}
                try:
                    made = session.run(computed, given)
                except Exception as error:  # the runtime's own classes, unrelated to each other
                    raise GraphError(
                        f"ONNX Runtime fails on the calibration data: {error}"
                    ) from error
                found |= dict(zip(computed, made, strict=True))
            yield found

    def of(self, model: ir.Model) -> "Frontier":
        """The same place in a model that is this one up to there, to be run from and not moved.

        Args:
            model: Nodes behind the frontier that nothing reads any more may be gone from it.
        """
        other = copy(self)
        other._model, other._parts = model, Parts(model)
        there = {value.name for node in model.graph for value in node.outputs}
        there |= {value.name for value in model.graph.inputs}
        other._known = [name for name in self._known if name in there]
        return other

    def part(self, names: Sequence[str]) -> ir.Model:
        """What computes some values from those that are known at the frontier."""
        return self._parts.between(self._known, names, self._types)

    def feeds(self) -> Iterator[Mapping[str, Values]]:
        """The known values, batch by batch."""
        if self._kept is not None:
            yield from self._kept
            return
        for piece in self._data.batches(self._batch):
            yield feeds_of(piece, self._fixed)

    def counts(self) -> Iterator[int]:
        """The samples of each batch, without those that fill a fixed one up."""
        if not self._counts:
            self._counts = [len(piece) for piece in self._data.batches(self._batch)]
        return iter(self._counts)

    def advance(self, node: str) -> None:
        """Move in front of a node and keep what it and later nodes read, if that fits."""
        live = self._live(node)
        if live is None or set(live) == set(self._known):
            return
        kept: list[Mapping[str, Values]] = []
        size = 0
        for found in self.batches(live):
            kept.append(found)
            size += sum(getattr(value, "nbytes", 0) for value in found.values())  # a list has none
            if size / len(kept) * len(self) > self._room:
                return
        self._kept, self._known = kept, live
        arrays = {n: a for n, a in kept[0].items() if isinstance(a, np.ndarray)} if kept else {}
        self._types = {
            name: ir.TensorType(ir.DataType.from_numpy(array.dtype))
            for name, array in arrays.items()
            if array.dtype != object
        }

    def _live(self, name: str) -> list[str] | None:
        """What has to be known in front of a node; None where something of it cannot be kept."""
        for node in islice(self._model.graph, len(self._passed), None):
            if node.name == name:
                break
            self._passed.add(node)
            self._alive |= dict.fromkeys(node.outputs)
        self._alive = {value: None for value in self._alive if self._is_read(value)}
        live = dict.fromkeys(one for value in self._alive for one in _sources(value))
        if any(value.dtype in _UNKNOWN for value in live):
            return None
        return [value.name or "" for value in live]

    def _is_read(self, value: ir.Value) -> bool:
        """Whether a node ahead reads a value, or the caller does."""
        return value.is_graph_output() or any(
            node.graph is not self._model.graph or node not in self._passed
            for node in value.consumers()
        )


def _sources(value: ir.Value) -> list[ir.Value]:
    """What to keep so that a value is known: nothing of what is made from constants alone."""
    node = value.producer()
    if node is None:
        return [value]
    read = [one for one in reads(node) if not one.is_initializer() or one.is_graph_input()]
    if node.op_type == "DequantizeLinear":
        if not read:
            return []
        if len(read) == 1 and read[0].dtype in _KEPT and not value.is_graph_output():
            return read
    return [value]
