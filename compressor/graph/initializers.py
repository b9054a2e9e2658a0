"""Initializers of a graph, and names that no value in it bears."""

from collections.abc import Iterable

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


def remove_unread_initializers(graph: ir.Graph) -> None:
    """Remove initializers that no node reads, in place; inputs and outputs of the graph stay.

    A weight that its integers have replaced would be shipped a second time.
    """
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]


class FreeNames:
    """Names that are not taken yet; names that others give meanwhile are not known here.

    Args:
        taken: The names to stay clear of.
        first: The first number that is put behind a name that is taken.
    """

    def __init__(self, taken: Iterable[str | None] = (), *, first: int = 2) -> None:
        self._taken = set(taken)
        self._first = first

    def take(self, name: str) -> str:
        """The name, or with the first number that makes it free; it is taken from then on."""
        free, number = name, self._first
        while free in self._taken:
            free = f"{name}_{number}"
            number += 1
        self._taken.add(free)
        return free


def names_beside(graph: ir.Graph) -> FreeNames:
    """Names that no value of the graph bears, whose own names are read once."""
    return FreeNames(taken_names(graph))


def free_name(graph: ir.Graph, name: str) -> str:
    """The name, or with the first number from 2 on, that no value of the graph bears.

    Each time the whole graph is read: who needs many takes them from `names_beside`.
    """
    return names_beside(graph).take(name)


def taken_names(graph: ir.Graph) -> set[str | None]:
    """The names of all values of a graph, those in bodies of its nodes too."""
    taken: set[str | None] = set()
    for one in (graph, *graph.subgraphs()):
        taken |= {*one.initializers, *(value.name for value in one.inputs)}
        taken |= {value.name for node in one for value in node.outputs}
    return taken
