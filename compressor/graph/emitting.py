"""New nodes of a rewrite: named after the node that they stand for, with types and known shapes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import onnx_ir as ir

from compressor.graph.initializers import add_initializer, names_beside, remove_unread_initializers
from compressor.graph.names import label
from compressor.graph.tensors import Array

Shape = Sequence[int | str | None]
MICROSOFT = "com.microsoft"
"""The domain of the runtime's own operators."""


class Found(Protocol):
    """Nodes that a form can stand for."""

    @property
    def name(self) -> str:
        """Of the node that a plan calls the place by."""
        ...

    @property
    def operator(self) -> str:
        """What it is, for people."""
        ...

    @property
    def nodes(self) -> tuple[ir.Node, ...]:
        """What computes it, in order; nobody else reads what is in between."""
        ...

    @property
    def x(self) -> ir.Value:
        """What it reads first."""
        ...

    @property
    def y(self) -> ir.Value:
        """What the last node writes."""
        ...


@dataclass(frozen=True)
class FoundNodes:
    """Nodes one behind the other that a plan calls by one of them.

    Attributes:
        nodes: What computes it, in order; nobody else reads what is in between.
        x: What it reads first.
        y: What the last node writes.
        named: Place among the nodes of the one whose name it has.
    """

    nodes: tuple[ir.Node, ...]
    x: ir.Value
    y: ir.Value
    named: ClassVar[int] = -1

    @property
    def name(self) -> str:
        """Of the node that a plan calls the place by."""
        return self.nodes[self.named].name or ""


class Emitter:
    """Puts nodes in front of a place of a graph."""

    def __init__(self, model: ir.Model, place: Found) -> None:
        """Nothing is changed yet."""
        self._graph, self._place = model.graph, place
        self._values = names_beside(model.graph)
        self._nodes = {node.name for node in model.graph.all_nodes()}
        self._new: list[ir.Node] = []

    @property
    def batch(self) -> Any:
        """The first size of what is written; open where it is not known."""
        shape = self._place.y.shape
        return None if shape is None else shape[0]

    def raise_opset(self, version: int) -> None:
        """Let the graph import at least this opset."""
        imports = self._graph.opset_imports
        imports[""] = max(imports.get("", 0), version)

    def weight(self, name: str, array: Array) -> ir.Value:
        """An initializer, called so behind the node that the place is named after."""
        name = self._values.take(f"{self._place.name}_{name}")
        return add_initializer(self._graph, name, array)

    def emit(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        shape: Shape,
        name: str = "",
        *,
        domain: str = "",
        whole: bool = False,
        **attributes: Any,
    ) -> ir.Value:
        """A node with one output, whose batch is that of the place.

        Args:
            operator: What it computes.
            inputs: What it reads.
            shape: Of its output, behind the batch.
            name: What it is called behind the node that it stands for; its operator without.
            domain: Of the operator, which the graph imports then.
            whole: Whether `shape` has the first size, too.
            attributes: As the operator has them.
        """
        node = ir.node(operator, inputs, attributes, domain=domain)
        if domain:
            self._graph.opset_imports.setdefault(domain, 1)
        node.name = self._free(f"{self._place.name}_{name or operator.lower()}")
        value = node.outputs[0]
        value.name = self._values.take(node.name)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape(list(shape) if whole else [self.batch, *shape])
        self._new.append(node)
        return value

    def activated(self, value: ir.Value, activation: ir.Node | None) -> ir.Value:
        """Behind an activation like one of the place."""
        if activation is None:
            return value
        shape = value.shape
        assert shape is not None, "what is emitted has a shape"
        attributes = list(activation.attributes.values())
        node = ir.Node(
            activation.domain, activation.op_type, [value, *activation.inputs[1:]],
            attributes, num_outputs=1,
        )  # fmt: skip
        node.name = self._free(label(activation))
        made = node.outputs[0]
        made.name = self._values.take(node.name)
        made.type, made.shape = value.type, ir.Shape(list(shape))
        self._new.append(node)
        return made

    def replace(self, value: ir.Value) -> None:
        """Let the place write `value`, and remove what computed it before."""
        self.replace_all({self._place.y: value})

    def replace_all(self, made: Mapping[ir.Value, ir.Value]) -> None:
        """Let the place write the values of `made` in place of its keys."""
        place, graph = self._place, self._graph
        graph.insert_before(place.nodes[-1], self._new)
        names = {value: old.name for old, value in made.items()}
        for old, value in made.items():
            value.shape, value.type = old.shape or value.shape, old.type or value.type
            ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        before = [value for node in place.nodes for value in node.inputs if value is not None]
        graph.remove(list(reversed(place.nodes)), safe=True)
        remove_unread_nodes(graph, before)
        for value, name in names.items():
            value.name = name
        if len(made) > 1:
            graph.sort()  # what is not last may be read in front of the last
        remove_unread_initializers(graph)

    def _free(self, name: str) -> str:
        free, number = name, 2
        while free in self._nodes:
            free, number = f"{name}_{number}", number + 1
        self._nodes.add(free)
        return free


def remove_unread_nodes(graph: ir.Graph, values: Iterable[ir.Value]) -> None:
    """Remove what computed values that nobody reads any more, in place."""
    waiting = list(values)
    while waiting:
        node = waiting.pop().producer()
        if node is None or node.graph is not graph:
            continue
        if any(value.uses() or value.is_graph_output() for value in node.outputs):
            continue
        waiting += [value for value in node.inputs if value is not None]
        graph.remove(node, safe=True)


def reshaped(to: Emitter, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
    """Reshape whose batch stays; -1 is the one size that is open."""
    target = to.weight(f"{name}_shape", np.array([0, *shape], np.int64))
    return to.emit("Reshape", [value, target], [s if s >= 0 else None for s in shape], name)
