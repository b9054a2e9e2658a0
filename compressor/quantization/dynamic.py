"""Dynamic INT8: activations are quantized while the model runs, by the range of each input.

    x_q, s_x, z_x = DynamicQuantizeLinear(x)
    y = float(MatMulInteger(x_q, W_q, z_x)) · (s_x · s_W) + b

The range is exact, whatever the input, and needs no calibration data; it costs a pass over the
activations at every run. Weights are symmetric and per channel as in static INT8, so that they have
no zero point. Values that several nodes read, as query, key and value projections do, are quantized
once. ONNX Runtime fuses these nodes into `DynamicQuantizeMatMul`, or `MatMulIntegerToFloat` where
what is quantized has several readers. An LSTM is one operator in either form (`recurrent`).

Where the rows of an activation, as tokens are, differ much in size, one scale for all leaves few
levels to most. Such a product is of rows divided by their largest number m, a column:

    y = m · product(x / m) + b
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from calibration.scheme import Codes, FloatArray
from calibration.taps import AXES_AS_INPUT
from compressor.errors import RecipeError
from compressor.graph.constants import constant
from compressor.graph.initializers import (
    FreeNames,
    add_initializer,
    names_beside,
    remove_unread_initializers,
)
from compressor.graph.invariants import check
from compressor.graph.patterns import LEFT, unmatched
from compressor.quantization.auto import Selected
from compressor.quantization.dynamic_placement import place_dynamic, why_not_dynamic
from compressor.quantization.recurrent import is_recurrent, make_dynamic
from compressor.quantization.static import StaticChoice
from compressor.quantization.tied import Tables
from compressor.quantization.weights import channel_axis, tensor_params, weight_integers
from compressor.results.records import Decision, StageRecord
from compressor.system.stopwatch import Stopwatch
from exporters.base import QuantPolicy

__all__ = ["choose_dynamic", "insert_dynamic", "place_dynamic"]

TINY = 1e-30
"""What a row of zeros is divided by."""


def choose_dynamic(
    model: ir.Model, policy: QuantPolicy, leave: tuple[str, ...] = ()
) -> StaticChoice:
    """What `calibrate` would decide, with every range found at run time instead."""
    watch = Stopwatch()
    placement = place_dynamic(model, policy, leave)
    operators = {node.name: node.op_type for node in model.graph.all_nodes()}
    record = StageRecord(
        name="place dynamic INT8",
        seconds=watch.seconds,
        changed=dict(Counter(operators[name] for name in placement.integer)),
        decisions=tuple(
            Decision(subject=name, verdict="float", reason=reason)
            for name, reason in placement.float_reasons.items()
        ),
        notices=unmatched(model, leave, LEFT, "nothing in float"),
    )
    nothing = Selected({}, {}, {})
    return StaticChoice((), {}, placement.float_reasons, record, nothing, dynamic=placement.integer)


def insert_dynamic(
    model: ir.Model,
    nodes: Collection[str],
    policy: QuantPolicy,
    rounded: Mapping[str, Codes] = MappingProxyType({}),
    *,
    rows: Collection[str] = (),
    tied: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Make the nodes dynamic INT8, in place.

    The node that writes the result keeps the name of the node that it stands for.

    Args:
        model: A graph, float there.
        nodes: Names of nodes, each as `place_dynamic` lists it.
        policy: The target's policy; its weight scheme is that of the integer weights.
        rounded: Node → the integers of its weight, where they are not the nearest.
        rows: Those of them whose input has a scale for each row.
        tied: Gather → the product among them whose integers it reads.

    Raises:
        RecipeError: A name is none of a node that can run so, or a table is not that of a product.
    """
    known = {node.name: node for node in model.graph.all_nodes()}
    strange = [n for n in nodes if n not in known or why_not_dynamic(known[n], policy) is not None]
    if strange:
        raise RecipeError(
            f"the plan does not fit the graph: {strange[0]!r} cannot run as dynamic INT8",
            hint="Replay a plan with the model and the options that it was made with.",
        )
    tables = Tables.of(model, tied)
    writer = _Writer(
        model.graph,
        policy,
        rounded,
        names_beside(model.graph),
        frozenset(rows),
        axes_as_input=model.opset_imports.get("", 0) >= AXES_AS_INPUT,
    )
    chosen = set(nodes)
    for node in list(model.graph.all_nodes()):
        if node.name in chosen and is_recurrent(node):
            make_dynamic(model, node, policy)
        elif node.name in chosen:
            writer.replace(node)
    tables.read_from(writer.stored)
    _drop_unread(model.graph)
    check(model, "quantize dynamically")


def _drop_unread(graph: ir.Graph) -> None:
    """Remove the float weights, initializers and Constant nodes, that nothing reads any more."""
    remove_unread_initializers(graph)
    for node in list(graph.all_nodes()):
        made = node.outputs[0]
        if node.op_type == "Constant" and not made.uses() and not made.is_graph_output():
            _graph_of(node).remove(node)


def _graph_of(node: ir.Node) -> ir.Graph:
    """The graph, or the body, that a node is in."""
    assert isinstance(node.graph, ir.Graph), "a node of a model is in a graph"
    return node.graph


@dataclass
class _Writer:
    """Adds nodes and initializers to one graph; what is read twice is quantized once."""

    graph: ir.Graph
    policy: QuantPolicy
    rounded: Mapping[str, Codes]
    names: FreeNames
    rows: frozenset[str] = frozenset()
    axes_as_input: bool = True
    stored: dict[str, tuple[ir.Value, ir.Value]] = field(default_factory=dict)
    _largest: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ir.Value]] = field(
        default_factory=dict
    )
    _activations: dict[tuple[ir.Value, ir.Graph], tuple[ir.Value, ...]] = field(
        default_factory=dict
    )
    _weights: dict[tuple[ir.Value, int], tuple[ir.Value, ir.Value]] = field(default_factory=dict)

    def replace(self, node: ir.Node) -> None:
        source, weight = node.inputs[0], node.inputs[1]
        if source is None or weight is None:
            raise AssertionError(f"{node.name} was placed without an operand")
        name, output = node.name or node.op_type, node.outputs[0]
        self._before = node
        largest = None
        if name in self.rows:
            source, largest = self._divided(source)
        quantized, scale, zero_point = self._quantized(source)
        stored, weight_scale = self.stored[name] = self._weight(node, weight)
        product = self._node("MatMulInteger", name, [quantized, stored, zero_point])
        real = self._node("Cast", name, [product], to=int(ir.DataType.FLOAT))
        both = self._node("Mul", name, [scale, weight_scale])
        result = self._node("Mul", name, [real, both])
        if largest is not None:
            result = self._node("Mul", name, [result, largest])
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        if bias is not None:
            result = self._node("Add", name, [result, self._flat(bias)])
        result.shape, result.type = output.shape, output.type
        ir.convenience.replace_nodes_and_values(
            _graph_of(node), node, [node], [], [output], [result]
        )
        made = result.producer()
        if made is not None:
            made.name = name

    def _divided(self, source: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Rows divided by their largest number, and that number of each; once for all readers."""
        key = (source, _graph_of(self._before))
        if key not in self._largest:
            name = f"{source.name}_rows"
            absolute = self._node("Abs", name, [source])
            if self.axes_as_input:
                last = self._initializer(f"{name}_axis", np.array([-1], np.int64))
                most = self._node("ReduceMax", name, [absolute, last], keepdims=1)
            else:
                most = self._node("ReduceMax", name, [absolute], axes=[-1], keepdims=1)
            tiny = self._initializer(f"{name}_tiny", np.array(TINY, np.float32))
            largest = self._node("Max", name, [most, tiny])
            self._largest[key] = self._node("Div", name, [source, largest]), largest
        return self._largest[key]

    def _quantized(self, source: ir.Value) -> tuple[ir.Value, ...]:
        where = _graph_of(self._before)  # a body does not see what another one quantized
        if (source, where) not in self._activations:
            name = f"{source.name}/DynamicQuantizeLinear"
            if where is not self.graph:
                name = f"{where.name}/{name}"
            made = ir.node("DynamicQuantizeLinear", [source], num_outputs=3, name=name)
            for value, suffix in zip(made.outputs, ("q", "scale", "zero_point"), strict=True):
                value.name = self.names.take(f"{source.name}_dynamic_{suffix}")
            where.insert_before(self._before, made)
            self._activations[source, where] = tuple(made.outputs)
        return self._activations[source, where]

    def _weight(self, node: ir.Node, weight: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Integers [inputs, outputs] and the scale of each output, or of all."""
        axis = channel_axis(node)
        if (weight, axis) not in self._weights:
            tensor = constant(weight)
            if tensor is None:
                raise AssertionError(f"{node.name} was placed without a constant weight")
            values: FloatArray = tensor.numpy()
            params = tensor_params(tensor, axis, self.policy.weight)
            params = replace(params, axis=None if params.axis is None else 1)
            chosen = self.rounded.get(node.name or "")
            if chosen is not None and not axis:
                chosen = chosen.T
            whole = weight_integers(values if axis else values.T, params, params, chosen, 1)
            name = f"{weight.name}_dynamic"
            self._weights[weight, axis] = (
                self._initializer(name, np.ascontiguousarray(whole)),
                self._initializer(f"{name}_scale", np.asarray(params.scale, np.float32)),
            )
        return self._weights[weight, axis]

    def _flat(self, bias: ir.Value) -> ir.Value:
        """A Gemm's bias as a vector."""
        tensor = constant(bias)
        if tensor is None or len(tensor.shape) == 1:
            return bias
        return self._initializer(f"{bias.name}_flat", tensor.numpy().reshape(-1))

    def _initializer(self, name: str, array: np.ndarray) -> ir.Value:
        return add_initializer(self.graph, self.names.take(name), array)

    def _node(
        self, op_type: str, name: str, inputs: Iterable[ir.Value], **attributes: int | list[int]
    ) -> ir.Value:
        made = ir.node(op_type, list(inputs), attributes)
        made.outputs[0].name = self.names.take(f"{name}_{op_type}")
        made.name = made.outputs[0].name
        _graph_of(self._before).insert_before(self._before, made)
        return made.outputs[0]
