"""A graph run from node to node over a whole data set, with what later nodes read kept.

Repair walks the layers in order and needs at each what flows there. Running the graph from its
inputs for every layer would cost the square of its depth; here what crosses the frontier is kept
for all samples where it fits, and later runs start from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from calibration.dataset import CalibrationSet
from calibration.taps import feeds_of
from compressor.errors import GraphError
from compressor.graph.batch import fixed_batch
from compressor.graph.invariants import subgraphs
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs

Values = npt.NDArray[Any]
"""As the runtime returns them."""


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
        self._model, self._data = model, data
        self._fixed = fixed_batch(input_specs(model))
        self._batch, self._room, self._threads = self._fixed or batch, room, threads
        self._kept: list[Mapping[str, Values]] | None = None
        self._known = [spec.name for spec in input_specs(model)]

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
            part = partial(self._model, self._known, computed)
            session = open_session(part, threads=self._threads, spin=False)
        wanted = {value.name for value in session.get_inputs()} if session else set()
        for feeds in (feeds for number, feeds in enumerate(self._feeds()) if pick(number)):
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

    def advance(self, node: str) -> None:
        """Move in front of a node and keep what it and later nodes read, if that fits."""
        live = self._live(next(i for i, n in enumerate(self._model.graph) if n.name == node))
        kept: list[Mapping[str, Values]] = []
        size = 0
        for found in self.batches(live):
            kept.append(found)
            size += sum(getattr(value, "nbytes", 0) for value in found.values())  # a list has none
            if size / len(kept) * len(self) > self._room:
                return
        self._kept, self._known = kept, live

    def _feeds(self) -> Iterator[Mapping[str, Values]]:
        if self._kept is not None:
            yield from self._kept
            return
        for piece in self._data.batches(self._batch):
            yield feeds_of(piece, self._fixed)

    def _live(self, index: int) -> list[str]:
        nodes = list(self._model.graph)
        made = {v.name or "" for node in nodes[:index] for v in node.outputs}
        made |= {spec.name for spec in input_specs(self._model)}
        read = [v.name or "" for node in nodes[index:] for v in reads(node)]
        read += [value.name or "" for value in self._model.graph.outputs]
        return [name for name in dict.fromkeys(read) if name in made]


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads, bodies of control flow included."""
    inner = [v for graph in subgraphs(node) for one in graph.all_nodes() for v in one.inputs]
    return [value for value in (*node.inputs, *inner) if value is not None]


def partial(model: ir.Model, known: Sequence[str], wanted: Sequence[str]) -> ir.Model:
    """The part of a model between values that are known and values that are wanted."""
    copy = model.clone()
    graph = copy.graph
    values = {v.name or "": v for node in graph for v in node.outputs}
    given = {value.name: value for value in graph.inputs}
    for name in known:
        if name in values:
            old = values[name]
            value = ir.Value(name=name, type=old.type, shape=None)
            old.name = f"{name} computed"
            ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
            graph.inputs.append(value)
            given[name] = value
    graph.outputs[:] = [values[name] for name in wanted]
    for value in graph.outputs:
        value.dtype = value.dtype or ir.DataType.FLOAT
    part = RemoveUnusedNodesPass()(copy).model
    unread = [v for v in part.graph.inputs if not v.uses()]
    for value in unread:
        part.graph.inputs.remove(value)
    return part
