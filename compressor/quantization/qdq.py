"""Rewrites a float graph with QuantizeLinear / DequantizeLinear.

Activations: value → QuantizeLinear → DequantizeLinear → readers. When an integer node wrote the
value, every reader takes the dequantized one, since the runtime needs the output of an integer
kernel to go to QuantizeLinear alone; when a float node wrote it, only integer readers do, and
the others keep full precision.
Weights: stored as int8, then DequantizeLinear per channel. Biases: stored as int32 or left float.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import onnx_ir as ir

from calibration.scheme import Codes, FloatArray, QuantParams
from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, names_beside, remove_unread_initializers
from compressor.quantization.pad import pad_integers
from compressor.quantization.placement import activations, quantized_uses
from compressor.quantization.runtime_rounding import shield_floats
from compressor.quantization.weights import (
    channel_axis,
    fit_bias,
    quantize_bias,
    tensor_params,
    weight_integers,
)
from exporters.base import QuantPolicy


def insert_qdq(
    model: ir.Model,
    integer: set[str],
    activation: Mapping[str, QuantParams],
    policy: QuantPolicy,
    rounded: Mapping[str, Codes] = MappingProxyType({}),
) -> None:
    """Insert Q/DQ for the integer nodes, in place.

    Args:
        model: The float graph; becomes the quantized one.
        integer: Names of the integer nodes.
        activation: Parameters of every value that passes through Q/DQ, by name.
        policy: The target's policy.
        rounded: Node → the integers of its weight, where they are not the nearest.
    """
    writer = _Writer(model.graph, rounded)
    nodes = list(model.graph)
    for node in nodes:
        if node.name in integer and node.op_type == "AveragePool":
            node.attributes.pop("dilations", None)  # of ones: the integer operator has no such
    for node in nodes:
        if node.name in integer and node.op_type in policy.weighted:
            writer.weights(node, activation[activations(node)[0].name or ""], policy)
    values = {value.name or "": value for value in model.graph.inputs}
    values |= {value.name or "": value for node in nodes for value in node.outputs}
    for name, params in activation.items():
        writer.activation(values[name], params, integer, policy)
    pad_integers(model.graph, integer, dict(activation))
    if not policy.inputs_only:
        shield_floats(model.graph)
    remove_unread_initializers(model.graph)


class _Writer:
    """Adds nodes and initializers to one graph; a tensor that is quantized twice is stored once."""

    def __init__(self, graph: ir.Graph, rounded: Mapping[str, Codes]) -> None:
        self._graph, self._rounded = graph, rounded
        self._weights: dict[tuple[ir.Value, bytes], ir.Value] = {}
        self._names = names_beside(graph)

    def activation(
        self, value: ir.Value, params: QuantParams, integer: set[str], policy: QuantPolicy
    ) -> None:
        made_by = value.producer()
        everyone = made_by is not None and made_by.name in integer and not policy.inputs_only
        uses = quantized_uses(value, integer, policy)
        scale, zero_point = self._parameters(value.name or "value", params)
        quantized = self._node("QuantizeLinear", [value, scale, zero_point], value, "quantized")
        restored = self._node(
            "DequantizeLinear", [quantized, scale, zero_point], value, "dequantized"
        )
        quantized.dtype = ir.DataType.from_numpy(params.zero_point.dtype)
        new = [quantized.producer(), restored.producer()]
        if made_by is not None:
            self._graph.insert_after(made_by, [node for node in new if node])
        else:
            self._graph.insert_before(self._graph[0], [node for node in new if node])
        for reader, index in uses:
            reader.replace_input_with(index, restored)
        if everyone and value.is_graph_output():
            self._become_output(value, restored)

    def weights(self, node: ir.Node, input_params: QuantParams, policy: QuantPolicy) -> None:
        """Replace the weight, and the bias where the policy wants it, by dequantized integers.

        A float bias has to fit as well: ONNX Runtime makes it int32 (`runtime_rounding`).
        """
        weight, bias = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
        tensor = constant(weight)
        if weight is None or tensor is None:
            raise AssertionError(f"{node.name} was placed without a constant weight")
        values = tensor.numpy()
        params = own = tensor_params(tensor, channel_axis(node), policy.weight)
        bias_tensor = constant(bias)
        if bias is not None and bias_tensor is not None and not policy.weight.is_float:
            flat = bias_tensor.numpy().reshape(-1)
            if params.axis is None or flat.shape == params.scale.shape:
                params = fit_bias(params, flat, float(input_params.scale))
            if policy.bias == "int32":
                node.replace_input_with(2, self._bias(node, bias, flat, input_params, params))
        integers = weight_integers(
            values, params, own, self._rounded.get(node.name or ""), channel_axis(node)
        )
        node.replace_input_with(1, self._weight(node, weight, integers, params))

    def _weight(
        self, node: ir.Node, weight: ir.Value, integers: Codes, params: QuantParams
    ) -> ir.Value:
        key = (weight, params.scale.tobytes() + bytes([params.axis or 0]))
        if key not in self._weights:
            stored = self._initializer(f"{weight.name}_quantized", integers)
            self._weights[key] = self._dequantized(node, weight, stored, params)
        return self._weights[key]

    def _bias(
        self,
        node: ir.Node,
        bias: ir.Value,
        flat: FloatArray,
        input_params: QuantParams,
        params: QuantParams,
    ) -> ir.Value:
        whole, scale = quantize_bias(flat, float(input_params.scale), params)
        per_channel = params.axis is not None
        scheme = QuantParams(
            params.scheme,
            scale if per_channel else scale[0],
            np.zeros(scale.shape if per_channel else (), np.int32),
            0 if per_channel else None,
        )
        stored = self._initializer(f"{bias.name}_quantized", whole)
        return self._dequantized(node, bias, stored, scheme)

    def _dequantized(
        self, node: ir.Node, source: ir.Value, stored: ir.Value, params: QuantParams
    ) -> ir.Value:
        scale, zero_point = self._parameters(stored.name or "weight", params)
        restored = self._node(
            "DequantizeLinear", [stored, scale, zero_point], source, "dequantized", params.axis
        )
        restored.shape = stored.shape
        made_by = restored.producer()
        if made_by is not None:
            self._graph.insert_before(node, [made_by])
        return restored

    def _parameters(self, name: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        return (
            self._initializer(f"{name}_scale", np.asarray(params.scale, np.float32)),
            self._initializer(f"{name}_zero_point", np.asarray(params.zero_point)),
        )

    def _initializer(self, name: str, array: np.ndarray) -> ir.Value:
        return add_initializer(self._graph, self._names.take(name), array)

    def _node(
        self,
        op_type: str,
        inputs: list[ir.Value],
        like: ir.Value,
        suffix: str,
        axis: int | None = None,
    ) -> ir.Value:
        name = self._names.take(f"{like.name}_{suffix}")
        attributes = {} if axis is None else {"axis": axis}
        node = ir.node(op_type, inputs, attributes, name=f"{name}/{op_type}")
        result = node.outputs[0]
        result.name, result.shape, result.dtype = name, like.shape, ir.DataType.FLOAT
        return result

    def _become_output(self, value: ir.Value, restored: ir.Value) -> None:
        """The dequantized value takes over the output's place and its name, which is public."""
        name = value.name
        value.name = self._names.take(f"{name}_float")
        restored.name = name
        for index, output in enumerate(self._graph.outputs):
            if output is value:
                self._graph.outputs[index] = restored
