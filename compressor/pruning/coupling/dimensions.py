"""One walk over a graph, in order, that labels every dimension of every value.

The rules (`compressor.pruning.coupling.rules`) say what each operator does with the labels of its
inputs. An operator without a rule freezes what it touches. Where a rule has several ways to couple
positions (a whole head, or one dimension of every head), it asks `Walk.choose`.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import array_if_stored
from compressor.graph.invariants import subgraphs
from compressor.graph.noise import follows
from compressor.pruning.coupling.labels import Cause, Ints, Labels
from compressor.pruning.coupling.sizes import ComputedSize, ConstantOrigin, Sizes, size_of, stored

Dimensions = list[Ints]

Choice = tuple[str, int]
"""A node, and which of the choices that its rule makes."""

NO_FEATURE = frozenset(
    {"a single position", "the kernel of a convolution", "positions in space or time"}
)
"""Reasons that tell nothing to a reader: there is nothing that anyone would remove."""

_MOST_SIZES = 64
"""Elements of an integer value up to which it is followed as sizes."""


@dataclass(frozen=True)
class Demand:
    """A computed or stored size that has to be the kept size of one dimension."""

    size: ComputedSize
    labels: Ints
    value: str
    axis: int
    node: str


class UnknownShapeError(Exception):
    """The shape of a value could not be found, so that no rule applies to what reads it."""


class Walk:
    """The labels of all dimensions, which the rules read and write.

    Args:
        graph: The main graph; stays as it is.
        shapes: Concrete shapes by value name.
        choices: Which of the ways that a rule offers; the first where not named.
    """

    def __init__(
        self,
        graph: ir.Graph,
        shapes: Mapping[str, tuple[int, ...]],
        opset: int,
        choices: Mapping[Choice, int],
    ) -> None:
        self.graph = graph
        self.opset = opset
        self.labels = Labels()
        self.dimensions: dict[str, Dimensions] = {}
        self.sizes: dict[str, Sizes] = {}
        self.demands: list[Demand] = []
        self.fixed: set[ConstantOrigin] = set()
        self.offered: dict[Choice, int] = {}
        self.watched: dict[Choice, list[Ints]] = defaultdict(list)
        self.unknown: dict[str, list[str]] = defaultdict(list)
        self._shapes = shapes
        self._choices = choices
        self._parts: dict[bytes, Dimensions] = {}
        self._node = ""
        self._choice: Choice = ("", -1)
        for value in graph.inputs:
            if not follows(value):
                self._interface(value, "an input of the graph")

    def enter(self, node: ir.Node) -> None:
        """Take a node as the cause of what is frozen from here on."""
        self._node = node.name or ""
        self._choice = (self._node, -1)

    def finish(self) -> None:
        """Freeze the outputs of the graph."""
        for value in self.graph.outputs:
            self._interface(value, "an output of the graph")

    def shape(self, value: ir.Value) -> tuple[int, ...]:
        """The concrete shape of a value.

        Raises:
            UnknownShapeError: It could not be found.
        """
        try:
            return self._shapes[value.name or ""]
        except KeyError:
            raise UnknownShapeError from None

    def of(self, value: ir.Value) -> Dimensions:
        """The labels of every dimension of a value; those of a constant are made when first read.

        Raises:
            UnknownShapeError: The shape of the value could not be found.
        """
        name = value.name or ""
        if name not in self.dimensions:
            self.dimensions[name] = [self.fresh(size) for size in self.shape(value)]
        return self.dimensions[name]

    def inputs(self, node: ir.Node) -> list[Dimensions]:
        """The dimensions of every input that is there."""
        return [self.of(value) for value in node.inputs if value is not None]

    def first(self, node: ir.Node) -> Dimensions:
        """The dimensions of the first input."""
        value = node.inputs[0]
        assert value is not None
        return self.of(value)

    def give(self, value: ir.Value, dimensions: Dimensions) -> None:
        """Say what the dimensions of an output are.

        Raises:
            UnknownShapeError: Its shape could not be found.
        """
        if not value.name:
            return
        if [len(d) for d in dimensions] != list(self.shape(value)):
            # A form of the operator that its rule does not have; the walk freezes it.
            raise UnknownShapeError
        self.dimensions[value.name] = dimensions

    def fresh(self, count: int) -> Ints:
        """New labels; a single position is no feature and stays."""
        if count == 1:
            return self.labels.frozen(1, Cause(self._node, "a single position"))
        return self.labels.fresh(count)

    def frozen(self, count: int, reason: str) -> Ints:
        """Labels of positions that stay because of the node at hand."""
        return self.labels.frozen(count, Cause(self._node, reason))

    def space(self, count: int) -> Ints:
        """Labels of positions in space or time, which no rule removes."""
        return self.frozen(count, "positions in space or time")

    def join(self, a: Ints, b: Ints) -> None:
        """Position by position, a and b go together."""
        self.labels.join(a, b)

    def freeze(self, labels: Ints, reason: str) -> None:
        """These positions stay because of the node at hand."""
        self.labels.freeze(labels, Cause(self._node, reason))

    def freeze_all(self, node: ir.Node, reason: str) -> None:
        """Everything a node reads and writes stays."""
        for value in touched(node):
            if (value.name or "") in self._shapes:
                for labels in self.of(value):
                    self.freeze(labels, reason)
        for value in node.outputs:
            if value.name in self._shapes:
                self.dimensions[value.name or ""] = [
                    self.frozen(size, reason) for size in self.shape(value)
                ]

    def remember(self, merged: Ints, parts: Dimensions) -> None:
        """These dimensions were merged into one, so that a later split gives them back."""
        self._parts[merged.tobytes()] = parts

    def parts(self, labels: Ints) -> Dimensions:
        """The dimensions that one was merged from; itself if from none that is known."""
        return self._parts.get(labels.tobytes(), [labels])

    def choose(self, ways: int) -> int:
        """Which of several ways to couple positions the node at hand takes."""
        self._choice = (self._node, self._choice[1] + 1)
        self.offered[self._choice] = ways
        return self.chosen(self._choice)

    def chosen(self, choice: Choice) -> int:
        """Which way a choice took."""
        return min(self._choices.get(choice, 0), self.offered[choice] - 1)

    def watch(self, labels: Ints) -> None:
        """The way chosen last is of no use if these turn out to be frozen."""
        self.watched[self._choice].append(labels)

    def known_sizes(self, value: ir.Value | None, node: ir.Node, index: int) -> Sizes | None:
        """An integer input as sizes; None where it is not followed."""
        if value is None:
            return None
        if value.name in self.sizes:
            return self.sizes[value.name or ""]
        array = array_if_stored(value)
        if array is None or array.size > _MOST_SIZES or array.dtype.kind not in "iub":
            return None
        flat = [
            stored(int(n), ConstantOrigin(node.name or "", index, i))
            for i, n in enumerate(array.ravel())
        ]
        found = np.empty(len(flat), object)
        found[:] = flat
        return found.reshape(array.shape)

    def numbers(self, node: ir.Node, attribute: str, index: int | None) -> list[int] | None:
        """Integers of an attribute or of a constant input; None where they are not constant."""
        if index is None or len(node.inputs) <= index or (value := node.inputs[index]) is None:
            found = node.attributes.get(attribute)
            if found is None:
                return None
            return [found.as_int()] if found.type == ir.AttributeType.INT else [*found.as_ints()]
        array = array_if_stored(value)
        if array is not None:
            return [int(n) for n in array.ravel()]
        sizes = self.sizes.get(value.name or "")
        if sizes is None:
            return None
        if all(size.constant for size in sizes.ravel()):
            return [size.number for size in sizes.ravel()]
        self.consume(value)
        return None

    def consume(self, value: ir.Value | None) -> None:
        """A computed size is used as a number: what it depends on stays."""
        if value is None or value.name not in self.sizes:
            return
        for size in self.sizes[value.name or ""].ravel():
            self.fix(size)
            for labels in size.labels:
                self.freeze(labels, "a computed size is used as a number")

    def fix(self, size: ComputedSize) -> None:
        """A stored number enters a computation, so that it cannot be rewritten."""
        if size.origin is not None:
            self.fixed.add(size.origin)

    def demand(self, size: ComputedSize, value: ir.Value, axis: int) -> None:
        """The number has to be the kept size of an axis of a value."""
        labels = self.of(value)[axis]
        same = size.dimension and np.array_equal(size.labels[0], labels)
        if same or (size.constant and (labels < 0).all()):
            return
        self.demands.append(Demand(size, labels, value.name or "", axis, self._node))

    def same_count(self, labels: Ints, value: ir.Value, axis: int) -> None:
        """A dimension copies the size of one with these labels."""
        self.demand(size_of(labels), value, axis)

    def like(self, size: ComputedSize) -> Ints:
        """Labels of a dimension whose size is computed and whose positions are all alike."""
        if size.dimension:
            return size.labels[0]
        if size.origin is not None:
            return self.fresh(size.number)
        return self.frozen(size.number, "its size is a number of the graph")

    def _interface(self, value: ir.Value, reason: str) -> None:
        self._node = value.name or ""
        if value.name not in self._shapes:
            return
        for labels in self.of(value):
            self.freeze(labels, reason)
        if value.is_graph_input():
            self.dimensions[value.name or ""] = [self.frozen(n, reason) for n in self.shape(value)]


Labelling = Callable[[Walk, ir.Node], None]


def size_dimensions(walk: Walk, value: ir.Value) -> Sizes | None:
    """The sizes of all dimensions of a value; None where its shape is not known."""
    try:
        dimensions = walk.of(value)
    except UnknownShapeError:
        return None
    found = np.empty(len(dimensions), object)
    found[:] = [size_of(labels) for labels in dimensions]
    return found


def touched(node: ir.Node) -> Iterator[ir.Value]:
    """What a node reads, in the bodies of its control flow too."""
    inner = [inside for graph in subgraphs(node) for inside in graph.all_nodes()]
    for one in (node, *inner):
        yield from (value for value in one.inputs if value is not None)
    for graph in subgraphs(node):
        yield from graph.outputs


def broadcast(walk: Walk, operands: Iterable[Sequence[Ints]]) -> Dimensions:
    """Right-align the operands and join where both have more than one position."""
    aligned = [list(operand) for operand in operands]
    rank = max((len(operand) for operand in aligned), default=0)
    result: Dimensions = []
    for axis in range(-rank, 0):
        there = [operand[axis] for operand in aligned if len(operand) >= -axis]
        wide = [labels for labels in there if len(labels) != 1] or there[:1]
        for labels in wide[1:]:
            walk.join(wide[0], labels)
        # The one that is known to be frozen, so that later nodes know it too.
        result.append(min(wide, key=lambda labels: int((labels >= 0).sum())))
    return result
