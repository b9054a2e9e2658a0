"""What a plan costs, from how many units each group keeps: multiply-accumulates, parameters.

The sizes of a value follow from its members, and the cost of a node from the sizes, so that what
two groups save together is exact: a convolution with both sides halved costs a quarter.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from copy import copy
from math import prod

import onnx_ir as ir

from compressor.graph.concrete import concrete_shapes
from compressor.graph.macs import node_macs
from compressor.graph.tensors import Arrays
from compressor.pruning.coupling.groups import Grouping

Kept = Mapping[str, int]
"""Group → units that stay; groups not named stay whole."""

Cost = Callable[[Kept], float]
"""What a plan costs; a measured latency can stand in for MACs."""

Shape = tuple[int, ...]


class Sizes:
    """Shapes of a model's values as a function of what its groups keep."""

    def __init__(self, model: ir.Model, grouping: Grouping, feeds: Arrays | None = None) -> None:
        """Find the shapes once.

        Args:
            model: The model that the groups are of.
            grouping: Its groups.
            feeds: Inputs of one run, where shapes depend on them.
        """
        concrete = concrete_shapes(model, feeds, 1)
        self.model = concrete.model
        self._shapes = concrete.shapes
        self._shrinks: dict[str, list[tuple[int, str, int, int]]] = defaultdict(list)
        for group in grouping.groups:
            for member in group.members:
                k = member.positions.shape[1]
                self._shrinks[member.value].append((member.axis, group.name, group.units, k))

    def less(self, model: ir.Model) -> "Sizes":
        """The same of a model that lacks some of the nodes, and is otherwise this one."""
        other = copy(self)
        other.model = model
        return other

    def shape(self, value: ir.Value | None, kept: Kept) -> Shape | None:
        """The shape of a value when each group keeps so many units; None where not known."""
        name = "" if value is None else value.name or ""
        shape = self._shapes.get(name)
        if shape is None or name not in self._shrinks:
            return shape
        sizes = list(shape)
        for axis, group, units, k in self._shrinks[name]:
            sizes[axis] -= (units - kept.get(group, units)) * k
        return tuple(sizes)

    def groups_of(self, *values: ir.Value | None) -> tuple[str, ...]:
        """The groups that change the shape of any of these values."""
        names = [value.name or "" for value in values if value is not None]
        found = {group for name in names for _, group, _, _ in self._shrinks.get(name, ())}
        return tuple(sorted(found))

    def macs(self, node: ir.Node, kept: Kept) -> int:
        """Multiply-accumulates of a node; 0 where they are not known."""
        inputs = [self.shape(value, kept) for value in node.inputs]
        outputs = [self.shape(value, kept) for value in node.outputs]
        return node_macs(node, inputs, outputs) or 0

    def elements(self, node: ir.Node, kept: Kept) -> int:
        """Elements that a node writes; those that are not known count as none."""
        shapes = [self.shape(value, kept) for value in node.outputs]
        return sum(prod(shape) for shape in shapes if shape is not None)


class Macs:
    """Multiply-accumulates of one run."""

    def __init__(self, sizes: Sizes) -> None:
        """Count the work of nodes that have any."""
        self._sizes = sizes
        self._nodes = [n for n in sizes.model.graph if sizes.macs(n, {}) > 0]
        self._groups = {n: sizes.groups_of(*n.inputs, *n.outputs) for n in self._nodes}
        self._known: dict[tuple[object, ...], int] = {}

    def __call__(self, kept: Kept) -> float:
        """The count when each group keeps so many units."""
        return float(sum(self._of(node, kept) for node in self._nodes))

    def _of(self, node: ir.Node, kept: Kept) -> int:
        key = (node, *(kept.get(name, -1) for name in self._groups[node]))
        if key not in self._known:
            self._known[key] = self._sizes.macs(node, kept)
        return self._known[key]


class Parameters:
    """Elements of the floating-point weights."""

    def __init__(self, sizes: Sizes) -> None:
        """Find the weights that shrink, and count the others."""
        weights = [
            value
            for value in sizes.model.graph.initializers.values()
            if value.dtype is not None and value.dtype.is_floating_point()
        ]
        self._sizes = sizes
        self._shrinking = [value for value in weights if sizes.groups_of(value)]
        self._fixed = sum(
            prod(sizes.shape(value, {}) or ()) for value in weights if not sizes.groups_of(value)
        )

    def __call__(self, kept: Kept) -> float:
        """The count when each group keeps so many units."""
        shrunk = (self._sizes.shape(value, kept) for value in self._shrinking)
        return float(self._fixed + sum(prod(shape) for shape in shrunk if shape is not None))
