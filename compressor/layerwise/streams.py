"""From a layer to the residual stream that it feeds: through what is linear and per element."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from operator import or_

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import array_if_stored, is_stored, stored_array
from compressor.layerwise.im2col import Floats
from compressor.layerwise.layers import Layer

_SAME = frozenset({"Identity", "Dropout"})
_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class Step:
    """An operator between a layer and the Add: what undoes it for a difference.

    Attributes:
        scale: Factors that multiply, to broadcast; None for none.
        permutation: Axes of a Transpose; None for none.
        reshapes: Whether the shape changes in another way.
    """

    scale: Floats | None = None
    permutation: tuple[int, ...] | None = None
    reshapes: bool = False


@dataclass(frozen=True)
class Stream:
    """Where a layer's output is added to something else.

    Attributes:
        add: The Add.
        steps: The operators on the way there.
        skip: The Add's other operand.
    """

    add: ir.Node
    steps: tuple[Step, ...]
    skip: ir.Value

    @property
    def value(self) -> ir.Value:
        """The sum."""
        return self.add.outputs[0]

    def pull(self, difference: Floats, shape: Sequence[int]) -> Floats | None:
        """What the layer's output must change by to change the sum by a difference.

        Args:
            difference: What the sum lacks, in its shape.
            shape: Shape of the layer's output.

        Returns:
            An array of that shape; None where the sum is larger, or the way back is not known.
        """
        before: list[tuple[int, ...] | None] = [tuple(shape)]
        for step in self.steps:
            last = before[-1]
            if step.reshapes or last is None:
                before.append(None)
            elif step.permutation is not None:
                before.append(tuple(last[axis] for axis in step.permutation))
            else:
                before.append(last)
        for step, known in zip(reversed(self.steps), reversed(before[:-1]), strict=True):
            if step.scale is not None:
                difference = difference / step.scale
            if step.permutation is not None:
                difference = difference.transpose(np.argsort(step.permutation))
            if step.reshapes:
                if known is None or prod(known) != difference.size:
                    return None
                difference = difference.reshape(known)
        return difference if difference.shape == tuple(shape) else None


def stream_of(layer: Layer) -> Stream | None:
    """The Add that a layer's output reaches and nothing else reads on the way; None without one."""
    value = layer.output
    steps: list[Step] = []
    while True:
        if len(value.uses()) != 1 or value.is_graph_output():
            return None
        node, index = next(iter(value.uses()))
        if node.domain != "":
            return None
        other = node.inputs[1 - index] if len(node.inputs) == 2 and index < 2 else None
        if node.op_type == "Add" and other is not None and not is_stored(other):
            return None if other is value else Stream(node, tuple(steps), other)
        step = _step(node, index, other)
        if step is None:
            return None
        steps.append(step)
        value = node.outputs[0]


def _step(node: ir.Node, index: int, other: ir.Value | None) -> Step | None:
    constant = array_if_stored(other)
    makers: dict[str, Callable[[], Step | None]] = {
        "Add": lambda: None if constant is None else Step(),
        "Sub": lambda: None if constant is None or index else Step(),
        "Mul": lambda: _scaled(constant),
        "Div": lambda: None if constant is None or index else _scaled(1 / constant),
        "BatchNormalization": partial(_normalized, node),
        "Transpose": partial(_permuted, node),
    }
    if node.op_type in _SAME:
        return Step()
    if node.op_type in _RESHAPING:
        return Step(reshapes=True) if index == 0 else None
    made = makers.get(node.op_type)
    return None if made is None else made()


def _scaled(factor: Floats | None) -> Step | None:
    return None if factor is None or not np.all(factor) else Step(scale=factor)


def _permuted(node: ir.Node) -> Step | None:
    order = node.attributes.get_ints("perm", ())
    return Step(permutation=tuple(order)) if order else None


def _normalized(node: ir.Node) -> Step | None:
    values = [value for value in (node.inputs[1], node.inputs[4]) if value is not None]
    if not all(is_stored(value) for value in values) or values[0].shape is None:
        return None
    gamma, variance = (stored_array(value) for value in values)
    factor = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return _scaled(factor.reshape(-1, 1, 1))


class Ancestry:
    """Which nodes of a graph every value depends on, found in one walk.

    Sets are the bits of integers: thousands of sets of thousands of nodes take megabytes.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._nodes = list(graph)
        self._number = {node: i for i, node in enumerate(self._nodes)}
        self._behind: dict[ir.Node, int] = {}
        for node in self._nodes:
            read = (self.of(value) for value in node.inputs if value is not None)
            self._behind[node] = reduce(or_, read, 1 << self._number[node])

    def of(self, value: ir.Value) -> int:
        """Every node that a value depends on."""
        node = value.producer()
        return 0 if node is None else self._behind.get(node, 0)

    def has(self, nodes: int, node: ir.Node) -> bool:
        """Whether a node is among some."""
        number = self._number.get(node)
        return number is not None and bool(nodes >> number & 1)

    def nodes(self, nodes: int) -> list[ir.Node]:
        """The nodes themselves, in the graph's order."""
        found = []
        while nodes:
            lowest = nodes & -nodes
            found.append(self._nodes[lowest.bit_length() - 1])
            nodes ^= lowest
        return found
