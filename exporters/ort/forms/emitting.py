"""New nodes of a form: named after the node that they stand for, with types and known shapes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.graph.initializers import add_initializer, names_beside, remove_unread_initializers
from compressor.graph.names import label
from compressor.graph.tensors import Array
from exporters.ort.forms.upsampling import Upsampling

Shape = Sequence[int | str | None]


class Emitter:
    """Puts nodes in front of a place of a graph."""

    def __init__(self, model: ir.Model, place: Upsampling) -> None:
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

    def weight(self, name: str, array: Array) -> ir.Value:
        """An initializer."""
        name = self._values.take(f"{self._place.name}_{name}")
        return add_initializer(self._graph, name, array)

    def emit(
        self,
        operator: str,
        inputs: Sequence[ir.Value | None],
        shape: Shape,
        name: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """A node with one output, whose batch is that of the place.

        Args:
            operator: What it computes.
            inputs: What it reads.
            shape: Of its output, behind the batch.
            name: What it is called behind the node that it stands for; its operator without.
            attributes: As the operator has them.
        """
        node = ir.node(operator, inputs, attributes)
        node.name = self._free(f"{self._place.name}_{name or operator.lower()}")
        value = node.outputs[0]
        value.name = self._values.take(node.name)
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape([self.batch, *shape])
        self._new.append(node)
        return value

    def activated(self, value: ir.Value) -> ir.Value:
        """Behind the activation of the place."""
        activation = self._place.activation
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
        place, graph = self._place, self._graph
        old = place.y
        graph.insert_before(place.nodes[0], self._new)
        value.shape, value.type = old.shape or value.shape, old.type or value.type
        name = old.name
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        graph.remove(list(reversed(place.nodes)), safe=True)
        value.name = name
        remove_unread_initializers(graph)

    def _free(self, name: str) -> str:
        free, number = name, 2
        while free in self._nodes:
            free, number = f"{name}_{number}", number + 1
        self._nodes.add(free)
        return free


def reshaped(to: Emitter, value: ir.Value, shape: Sequence[int], name: str) -> ir.Value:
    """Reshape whose batch stays; -1 is the one size that is open."""
    target = to.weight(f"{name}_shape", np.array([0, *shape], np.int64))
    return to.emit("Reshape", [value, target], [s if s >= 0 else None for s in shape], name)
