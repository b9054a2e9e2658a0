"""Values in another type."""

import onnx_ir as ir

from compressor.graph.initializers import free_name


def cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    """A Cast of a value, in no graph yet, whose output has that name and the value's shape."""
    node = ir.node("Cast", [value], {"to": int(dtype)}, name=f"{name}/Cast")
    made = node.outputs[0]
    made.name, made.shape, made.dtype = name, value.shape, dtype
    return node


def cast_output(graph: ir.Graph, index: int, dtype: ir.DataType, suffix: str) -> None:
    """Give an output of the graph another type, in place; it keeps its name.

    Args:
        graph: The graph.
        index: Which output.
        dtype: The type that it is to have.
        suffix: What the value that it was is called by, behind its name.
    """
    value = graph.outputs[index]
    name = value.name or ""
    value.name = free_name(graph, f"{name}_{suffix}")
    made = cast(value, dtype, name)
    graph.append(made)
    graph.outputs[index] = made.outputs[0]
