"""Adding constants to a graph."""

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


def free_name(graph: ir.Graph, name: str) -> str:
    """The name, or with the first number from 2 on, that no value of the graph bears."""
    taken = {*graph.initializers, *(v.name for v in graph.inputs)}
    taken |= {v.name for node in graph for v in node.outputs}
    free, count = name, 1
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
