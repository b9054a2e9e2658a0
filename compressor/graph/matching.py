"""Small questions about nodes and values that rewrites ask."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.constants import constant


def producer(value: ir.Value | None, operator: str, domain: str = "") -> ir.Node | None:
    """The node that writes a value, where it is that operator and writes it first."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != operator or node.domain != domain:
        return None
    return node if node.outputs[0] is value else None


def is_inner(value: ir.Value, readers: int = 1) -> bool:
    """Whether so many inputs of nodes read it and nobody else sees it."""
    return len(value.uses()) == readers and not value.is_graph_output()


def only_reader(value: ir.Value, operator: str) -> ir.Node | None:
    """The one node that reads a value, once, where it is that standard operator."""
    if not is_inner(value):
        return None
    node = next(iter(value.consumers()))
    return node if node.op_type == operator and node.domain == "" else None


def floats(value: ir.Value | None) -> npt.NDArray[np.float32] | None:
    """A constant of float32."""
    tensor = constant(value)
    if tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    return np.asarray(tensor.numpy(), np.float32)


def integers(value: ir.Value | None) -> list[int] | None:
    """A constant list of integers, or one of them."""
    tensor = constant(value)
    if tensor is None or tensor.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
        return None
    return [int(one) for one in tensor.numpy().reshape(-1)]


def number(value: ir.Value | None) -> float | None:
    """A constant of one number."""
    array = floats(value)
    return float(array.reshape(())) if array is not None and array.size == 1 else None


def sizes(value: ir.Value | None) -> list[int | None] | None:
    """The sizes of a value, None for those that are open; None where it has no known rank."""
    shape = None if value is None else value.shape
    return None if shape is None else [size if isinstance(size, int) else None for size in shape]


def is_float(value: ir.Value | None) -> bool:
    """Whether it is known to be float32."""
    return value is not None and value.dtype == ir.DataType.FLOAT


def operands(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """What a node of two inputs reads, a constant behind the other."""
    a, b = (*node.inputs, None, None)[:2]
    if a is None or b is None or len(node.inputs) != 2:
        return None
    return (b, a) if constant(a) is not None else (a, b)


def reduced_axes(node: ir.Node, rank: int) -> list[int] | None:
    """The axes that a reduction with constant axes runs over, kept as ones; None where not so."""
    axes = integers(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = axes or list(node.attributes.get_ints("axes", ()))
    if not axes or node.attributes.get_int("keepdims", 1) != 1:
        return None
    return sorted(axis % rank for axis in axes)


def is_closed(nodes: Sequence[ir.Node]) -> bool:
    """Whether nobody else reads what the nodes in front of the last one write."""
    inner = [value for node in nodes[:-1] for value in node.outputs]
    known = set(nodes)
    return not any(
        value.is_graph_output() or any(reader not in known for reader in value.consumers())
        for value in inner
    )


def is_close(a: float | None, b: float) -> bool:
    """Whether a number is another one, up to the rounding of float32."""
    return a is not None and math.isclose(a, b, rel_tol=1e-6)
