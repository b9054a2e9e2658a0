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
    """The name, or with the first number from 2 on, that no value of the graph bears.

    Each time the whole graph is read: who needs many takes them from `FreeNames`.
    """
    return FreeNames(graph).take(name)


class FreeNames:
    """Names that no value of a graph bears, whose own names are read once.

    Values that others add meanwhile have to be called otherwise.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._taken = taken_names(graph)

    def take(self, name: str) -> str:
        """The name, or with the first number from 2 on, that is free; it is not any more."""
        free, count = name, 1
        while free in self._taken:
            count += 1
            free = f"{name}_{count}"
        self._taken.add(free)
        return free


def taken_names(graph: ir.Graph) -> set[str | None]:
    """The names of all values of a graph, those in bodies of its nodes too."""
    taken: set[str | None] = set()
    for one in (graph, *graph.subgraphs()):
        taken |= {*one.initializers, *(value.name for value in one.inputs)}
        taken |= {value.name for node in one for value in node.outputs}
    return taken
