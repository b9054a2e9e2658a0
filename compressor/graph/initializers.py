"""Adding a constant to a graph."""

import onnx_ir as ir

from compressor.graph.tensors import Array


def add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """Register `array` as an initializer of that name, which must be free, and return its value."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(tensor.dtype),
        const_value=tensor,
    )
    graph.register_initializer(value)
    return value
