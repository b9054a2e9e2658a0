"""What a plan costs: multiply-accumulates from how many units each group keeps."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import onnx_ir as ir

from compressor.graph.concrete import concrete_shapes
from compressor.graph.macs import node_macs
from compressor.graph.tensors import Arrays
from compressor.pruning.groups import Grouping

Kept = Mapping[str, int]
"""Group → units that stay; groups not named stay whole."""

Cost = Callable[[Kept], float]
"""What a plan costs; a measured latency can stand in for MACs."""


class Macs:
    """Multiply-accumulates of one run of a model as a function of what its groups keep.

    The sizes of a value follow from its members, and the count from the sizes, so that what two
    groups save together is exact: a convolution with both sides halved costs a quarter.
    """

    def __init__(self, model: ir.Model, grouping: Grouping, feeds: Arrays | None = None) -> None:
        """Find the shapes once.

        Args:
            model: The model that the groups are of.
            grouping: Its groups.
            feeds: Inputs of one run, where shapes depend on them.
        """
        concrete = concrete_shapes(model, feeds, 1)
        self._shapes = concrete.shapes
        self._shrinks: dict[str, list[tuple[int, str, int, int]]] = defaultdict(list)
        for group in grouping.groups:
            for member in group.members:
                k = member.positions.shape[1]
                self._shrinks[member.value].append((member.axis, group.name, group.units, k))
        self._nodes = [n for n in concrete.model.graph if self._macs(n, {}) > 0]
        self._of_group: dict[str, list[ir.Node]] = defaultdict(list)
        self._fixed = 0.0
        self._groups_of = {}
        for node in self._nodes:
            touching = tuple(self._touching(node))
            self._groups_of[node.name] = touching
        self._cache: dict[tuple[object, ...], float] = {}

    def __call__(self, kept: Kept) -> float:
        """The count when each group keeps so many units."""
        total = 0.0
        for node in self._nodes:
            groups = self._groups_of[node.name]
            key = (node.name, *(kept.get(name, -1) for name in groups))
            if key not in self._cache:
                self._cache[key] = self._macs(node, kept)
            total += self._cache[key]
        return total

    def _touching(self, node: ir.Node) -> list[str]:
        values = [v.name or "" for v in (*node.inputs, *node.outputs) if v is not None]
        return sorted({name for v in values for _, name, _, _ in self._shrinks.get(v, ())})

    def _macs(self, node: ir.Node, kept: Kept) -> float:
        inputs = [None if v is None else self._shape(v.name or "", kept) for v in node.inputs]
        outputs = [self._shape(v.name or "", kept) for v in node.outputs]
        return node_macs(node, inputs, outputs) or 0

    def _shape(self, name: str, kept: Kept) -> tuple[int, ...] | None:
        shape = self._shapes.get(name)
        if shape is None or name not in self._shrinks:
            return shape
        sizes = list(shape)
        for axis, group, units, k in self._shrinks[name]:
            sizes[axis] -= (units - kept.get(group, units)) * k
        return tuple(sizes)
