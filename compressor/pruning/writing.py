"""New weights and biases for a layer of a model."""

import numpy as np
import onnx_ir as ir

from compressor.pruning.layers import Layer
from compressor.pruning.patches import Doubles, Floats


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
    made = _initializer(model, f"{layer.name}.bias", vector)
    if layer.kind == "MatMul":
        _add_behind(model, layer, made)
    else:
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, made)


def _initializer(model: ir.Model, name: str, array: Floats) -> ir.Value:
    base, count = name, 0
    while name in model.graph.initializers:
        count += 1
        name = f"{base}_{count}"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    model.graph.register_initializer(value)
    return value


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
