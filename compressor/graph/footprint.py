"""What the activations of a graph take while it runs, by the lifetimes of its values."""

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

UNKNOWN = 0
"""Bytes of a value whose shape is not known."""


def peak_bytes(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> int:
    """The most that is alive at once when nodes run in order and values go after their last use.

    Args:
        model: The graph; bodies of control flow do not count.
        shapes: Value name → concrete shape.

    Returns:
        Bytes, without weights. A runtime that works in place takes less, one that copies more.
    """
    nodes = list(model.graph)
    last = {value: i for i, node in enumerate(nodes) for value in node.inputs if value is not None}
    kept = set(model.graph.outputs)
    alive = sum(_bytes(value, shapes) for value in model.graph.inputs)
    peak = alive
    for index, node in enumerate(nodes):
        alive += sum(_bytes(value, shapes) for value in node.outputs)
        peak = max(peak, alive)
        done = {v for v in (*node.inputs, *node.outputs) if v is not None and v not in kept}
        alive -= sum(
            _bytes(v, shapes) for v in done if last.get(v, index) == index and v.const_value is None
        )
    return peak


def _bytes(value: ir.Value, shapes: Mapping[str, Sequence[int]]) -> int:
    shape = shapes.get(value.name or "")
    if shape is None:
        return UNKNOWN
    size = 4 if value.dtype is None else max(1, int(value.dtype.itemsize))
    return math.prod(shape) * size
