"""A graph in stretches: nodes that follow each other, and few values that cross to the next.

A model whose weights exceed memory is worked on a stretch at a time. What is cheap is not handed
on: a value that depends on the inputs alone, through nodes with next to no weights, such as a mask
or the angles of positions, is computed again in every stretch that reads it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from compressor.errors import GraphError
from compressor.graph.invariants import subgraphs
from compressor.graph.parts import Parts
from compressor.graph.shapes import shape_of
from compressor.graph.walks import reads

LIGHT = 2**16
"""Bytes of all weights behind a value up to which it is computed again where it is read."""
LOOKED_UP = "compressor.looked_up"
"""Metadata of a weight whose rows another stretch looks up, with which it shares what is stored."""
LEAST = 0.25
"""Share of its bytes that a stretch is filled to before it may end, where it can."""


@dataclass(frozen=True)
class Stretch:
    """Nodes that follow each other.

    Attributes:
        nodes: Their names, in order, without those that are computed again.
        reads: What it takes from earlier stretches; beside that it may read the graph's inputs.
        makes: What later ones read, then outputs of the graph.
        weight_bytes: Of its weights.
    """

    nodes: tuple[str, ...]
    reads: tuple[str, ...]
    makes: tuple[str, ...]
    weight_bytes: int

    def of(self, model: ir.Model, types: Mapping[str, ir.TypeProtocol]) -> ir.Model:
        """A model of its own, whose weights are the same tensors.

        Args:
            model: The graph that was cut.
            types: Types of what it reads, where the model does not state them.
        """
        inputs = [value.name or "" for value in model.graph.inputs]
        return Parts(model).between((*inputs, *self.reads), self.makes, types)

    @property
    def ends(self) -> str:
        """Its first and its last node, for people."""
        first, last = self.nodes[0], self.nodes[-1]
        return first if first == last else f"{first} to {last}"


def stretches(model: ir.Model, most: int) -> tuple[Stretch, ...]:
    """Cut a graph so that weights of a stretch take `most` bytes, or it is as short as can be.

    Of the places where one may end, the last is taken where the fewest values cross.

    Args:
        model: With unique names, its nodes in order; weights are not read.
        most: Bytes of the weights of one stretch.

    Raises:
        GraphError: Nothing in the graph has weights.
    """
    cutting = _Cutting(model)
    if not cutting.nodes:
        raise GraphError("the graph has no node with weights")
    bounds = [*cutting.bounds(most)]
    starts = [0, *(end + 1 for end in bounds[:-1])]
    return tuple(cutting.stretch(first, last) for first, last in zip(starts, bounds, strict=True))


class _Cutting:
    """The nodes that are not computed again, and what crosses behind each of them."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        light = _light(model.graph)
        self.nodes = [node for node in model.graph if node not in light]
        self._outputs = list(model.graph.outputs)
        self._made = {v: at for at, node in enumerate(self.nodes) for v in node.outputs if v.name}
        self._used = {v: at for at, node in enumerate(self.nodes) for v in reads(node)}
        self._batch = _leading(model.graph)

    def bounds(self, most: int) -> Iterator[int]:
        """The last node of each stretch."""
        crossing = self._crossing()
        start = 0
        while start < len(self.nodes):
            end = self._end(start, most, crossing)
            yield end
            start = end + 1

    def _end(self, start: int, most: int, crossing: list[int | None]) -> int:
        """Where a stretch ends that begins at `start`."""
        held: dict[ir.Value, int] = {}
        best: tuple[bool, int, int] | None = None
        for at in range(start, len(self.nodes)):
            held |= _weights(self.nodes[at])
            size = sum(held.values())
            if size > most and best is not None:
                return -best[2]
            if at == len(self.nodes) - 1:
                return at
            count = crossing[at]
            if count is not None:
                found = size < LEAST * most, count, -at
                best = found if best is None else min(best, found)
                if size > most:
                    return at
        return len(self.nodes) - 1

    def _crossing(self) -> list[int | None]:
        """How many values cross behind each node; None where one is no array of samples."""
        change = [0] * (len(self.nodes) + 1)
        barred = [0] * (len(self.nodes) + 1)
        for value, at in self._made.items():
            until = self._used.get(value, at)
            change[at] += 1
            change[until] -= 1
            if not self._carries(value):
                barred[at] += 1
                barred[until] -= 1
        found: list[int | None] = []
        count = bar = 0
        for at in range(len(self.nodes)):
            count, bar = count + change[at], bar + barred[at]
            found.append(None if bar else count)
        return found

    def _carries(self, value: ir.Value) -> bool:
        """Whether a value may have a row for each sample, as far as its type and shape tell."""
        if value.type is not None and not isinstance(value.type, ir.TensorType):
            return False
        shape = shape_of(value)
        if shape is None:
            return True
        return bool(shape) and (not isinstance(shape[0], int) or shape[0] in self._batch)

    def stretch(self, first: int, last: int) -> Stretch:
        """The nodes from one to the other."""
        inside = self.nodes[first : last + 1]
        read = dict.fromkeys(v for node in inside for v in reads(node))
        before = [v for v in read if v in self._made and self._made[v] < first]
        made = [v for node in inside for v in node.outputs if v.name]
        makes = [v for v in made if self._used.get(v, -1) > last]
        is_last = last == len(self.nodes) - 1
        outputs = [v for v in self._outputs if v in set(made) or (is_last and v not in self._made)]
        weights: dict[ir.Value, int] = {}
        for node in inside:
            weights |= _weights(node)
        return Stretch(
            tuple(node.name or "" for node in inside),
            tuple(v.name or "" for v in before),
            tuple(v.name or "" for v in dict.fromkeys([*makes, *outputs])),
            sum(weights.values()),
        )


def _light(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that depend on the inputs alone, with next to no weights on the way."""
    found: set[ir.Node] = set()
    behind: dict[ir.Node, int] = {}
    for node in graph:
        makers = {v.producer() for v in reads(node)}
        own = [maker for maker in makers if maker is not None and maker.graph is graph]
        size = sum(_weights(node).values()) + sum(behind.get(maker, 0) for maker in own)
        behind[node] = size
        if size <= LIGHT and all(maker in found for maker in own):
            found.add(node)
    return found


def _weights(node: ir.Node) -> dict[ir.Value, int]:
    """Initializer → bytes, of those that a node reads, in bodies of control flow too."""
    values = [v for v in reads(node) if v.is_initializer()]
    values += [v for body in subgraphs(node) for v in body.initializers.values()]
    return {v: v.const_value.nbytes for v in values if v.const_value is not None}


def _leading(graph: ir.Graph) -> set[int]:
    """Numbers of samples that the inputs have baked in."""
    shapes = [shape_of(value) for value in graph.inputs]
    return {shape[0] for shape in shapes if shape and isinstance(shape[0], int)}
