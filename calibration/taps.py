"""A clone of a graph whose outputs are computed from its values, and nothing else.

What is reduced in the graph does not leave the runtime.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from calibration.batch import Batch
from compressor.graph.initializers import add_initializer
from compressor.graph.tensors import Array

PREFIX = "tap/"
"""Prefix of every name that is added, which no exporter writes."""

SAMPLES = f"{PREFIX}samples"
"""The input that tells how many samples a run is of."""

AXES_AS_INPUT = 18
"""The first opset in which ReduceMin, ReduceMax, ReduceMean and ReduceSumSquare read their axes;
an ONNX source keeps its own from 13 on."""


class Taps:
    """Adds nodes, constants, inputs and outputs to a clone of a model; the model stays as it is."""

    def __init__(self, model: ir.Model) -> None:
        self._clone = model.clone()
        self.graph = self._clone.graph
        self._outputs: list[ir.Value] = []
        self._integers: dict[tuple[int, ...], ir.Value] = {}
        self._shared: dict[int, tuple[Array, ir.Value]] = {}
        self._rows: ir.Value | None = None
        self._count = 0
        self.values = {value.name or "": value for value in self.graph.inputs}
        self.values |= {v.name or "": v for node in self.graph for v in node.outputs}

    def node(self, op_type: str, inputs: Iterable[ir.Value | None], **attributes: Any) -> ir.Value:
        """Append a node; its first output."""
        made = ir.node(op_type, list(inputs), attributes)
        return self.append(made)

    def reduced(self, op_type: str, value: ir.Value, *axes: int) -> ir.Value:
        """Append a reduction over `axes`, which are dropped."""
        if self._clone.opset_imports.get("", 0) < AXES_AS_INPUT:
            return self.node(op_type, [value], axes=axes, keepdims=0)
        return self.node(op_type, [value, self.integers(*axes)], keepdims=0)

    def append(self, made: ir.Node) -> ir.Value:
        """Append a node made elsewhere, under names of its own."""
        made.name = self._name(made.op_type)
        for value in made.outputs:
            value.name = self._name(made.op_type)
        self.graph.append(made)
        return made.outputs[0]

    def copy(self, node: ir.Node, inputs: Iterable[ir.Value | None]) -> ir.Value:
        """Append a copy of a node of the model that reads other values; its first output."""
        made = ir.Node(
            node.domain,
            node.op_type,
            list(inputs),
            list(node.attributes.values()),
            overload=node.overload,
            num_outputs=len(node.outputs),
        )
        return self.append(made)

    def own(self, value: ir.Value | None) -> ir.Value | None:
        """The clone's value of the name that a value of the model has."""
        if value is None:
            return None
        found = self.values.get(value.name or "")
        return self.graph.initializers[value.name or ""] if found is None else found

    def constant(self, array: Array) -> ir.Value:
        """Add an initializer."""
        return add_initializer(self.graph, self._name("constant"), array)

    def integers(self, *numbers: int) -> ir.Value:
        """An int64 vector, each stored once."""
        if numbers not in self._integers:
            self._integers[numbers] = self.constant(np.array(numbers, np.int64))
        return self._integers[numbers]

    def shared(self, array: Array) -> ir.Value:
        """An initializer that is stored once, however often the same array is asked for."""
        if id(array) not in self._shared:
            self._shared[id(array)] = array, self.constant(array)
        return self._shared[id(array)][1]

    def row_a_sample(self) -> ir.Value:
        """The shape [samples, -1] of one run, whose number of samples `feeds_of` tells."""
        if self._rows is None:
            count = ir.Value(
                name=SAMPLES, shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.INT64)
            )
            self.graph.inputs.append(count)
            self._rows = self.node("Concat", [count, self.integers(-1)], axis=0)
        return self._rows

    def input(self, name: str) -> ir.Value:
        """Add a scalar float input of that name."""
        value = ir.Value(
            name=f"{PREFIX}{name}", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.FLOAT)
        )
        self.graph.inputs.append(value)
        return value

    def output(self, value: ir.Value) -> str:
        """Make a value an output; the name to fetch it by."""
        if value.producer() is None or not (value.name or "").startswith(PREFIX):
            value = self.node("Identity", [value])
        value.dtype = value.dtype or ir.DataType.FLOAT
        self._outputs.append(value)
        return value.name or ""

    def finished(self) -> ir.Model:
        """The clone, without what its outputs do not need."""
        self.graph.outputs[:] = self._outputs
        # At once: removed one by one, as the pass does, each node walks all outputs.
        self.graph.remove(_unread(self.graph), safe=True)
        return RemoveUnusedNodesPass()(self._clone).model

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{PREFIX}{what}_{self._count}"


def _unread(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that no output needs, and no body of one that stays."""
    outputs, unread = set(graph.outputs), set[ir.Node]()
    for node in reversed(graph):
        readers = (reader for value in node.outputs for reader in value.consumers())
        if outputs.isdisjoint(node.outputs) and unread.issuperset(readers):
            unread.add(node)
    return unread


def feeds_of(piece: Batch, fixed: int | None) -> Mapping[str, Array]:
    """The batch, filled up by repeating samples where the graph wants an exact size.

    With the number of its samples, which what was tapped may want to know.
    """
    inputs = piece.inputs if fixed is None else piece.filled(fixed)
    return {**inputs, SAMPLES: np.array([fixed or len(piece)], np.int64)}
