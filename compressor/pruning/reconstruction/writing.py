"""New weights and biases for a layer of a model."""

import numpy as np
import onnx_ir as ir

from compressor.graph.initializers import add_initializer, free_name
from compressor.layerwise.im2col import Doubles
from compressor.layerwise.layers import Layer


def write(model: ir.Model, layer: Layer, matrix: Doubles, bias: Doubles | None) -> None:
    """Give a layer another matrix and bias, in place.

    Gemm's alpha and beta become 1. A layer without a bias gets one where `bias` is given; that of
    a MatMul is an Add behind it, under whose name its output then goes.

    Args:
        model: The layer's model.
        layer: One of its layers.
        matrix: W, (groups, m, k).
        bias: b, (groups, m); None to leave it without.
    """
    node = layer.node
    dtype = layer.weight.dtype
    weight = layer.stored(matrix)
    old = layer.weight_value
    old.const_value = ir.tensor(weight, name=old.name)
    for name in ("alpha", "beta"):
        if name in node.attributes:
            del node.attributes[name]
    if bias is None:
        return
    vector = np.ascontiguousarray(bias.reshape(-1), dtype=dtype)
    value = layer.bias_value
    if value is not None and len(value.uses()) == 1:
        array = vector if layer.add is None else vector.reshape(layer.bias_array().shape)
        value.const_value = ir.tensor(array, name=value.name)
        value.shape = ir.Shape(array.shape)
        return
    made = add_initializer(model.graph, free_name(model.graph, f"{layer.name}.bias"), vector)
    if layer.kind == "MatMul":
        _add_behind(model, layer, made)
    else:
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, made)


def _add_behind(model: ir.Model, layer: Layer, bias: ir.Value) -> None:
    if layer.add is not None:
        index = next(i for i, v in enumerate(layer.add.inputs) if v is not layer.node.outputs[0])
        layer.add.replace_input_with(index, bias)
        return
    product = layer.node.outputs[0]
    name = product.name
    total = ir.Value(name=None, shape=product.shape, type=product.type)
    ir.convenience.replace_all_uses_with(product, total, replace_graph_outputs=True)
    add = ir.Node("", "Add", [product, bias], outputs=[total], name=f"{layer.name}_bias")
    model.graph.insert_after(layer.node, add)
    product.name = f"{name}_product"
    total.name = name
