"""What running a model costs: multiply-accumulates, and bytes read and written, node by node."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, prod

import onnx_ir as ir

from compressor.graph.concrete import Concrete, Inputs, concrete_shapes
from compressor.graph.invariants import subgraphs
from compressor.graph.macs import carries_macs, node_macs
from compressor.graph.parameters import parameters

__all__ = ["MacCount", "NodeCost", "macs", "node_costs", "parameters"]

_Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class NodeCost:
    """Cost of one run of a node.

    Attributes:
        macs: Multiply-accumulates; 0 for operators that have none, None where they cannot be told.
        bytes_read: Bytes of all inputs, weights too, each once; None where a shape or type is
            unknown.
        bytes_written: Bytes of all outputs that are used.
        reason: Why `macs` is None.
    """

    name: str
    op_type: str
    macs: int | None
    bytes_read: int | None
    bytes_written: int | None
    reason: str | None = None


def node_costs(model: ir.Model, batch: int = 1, inputs: Inputs = None) -> list[NodeCost]:
    """The cost of every node of the main graph, functions inlined, in order.

    Args:
        model: A float or quantized model; stays as it is.
        batch: Samples in the run, where the model leaves that open.
        inputs: Arrays (the best: all shapes can be found), or specifications with concrete
            sizes; nothing suffices when only the leading size is symbolic.
    """
    concrete = concrete_shapes(model, inputs, batch)
    return [_cost(node, concrete) for node in concrete.model.graph]


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of a whole model; None with the reason and the node it is about."""

    macs: int | None
    reason: str | None = None


def macs(model: ir.Model, inputs: Inputs = None) -> MacCount:
    """Multiply-accumulates of one sample; of the whole batch where a model has one baked in.

    Args:
        model: A float or quantized model: both count the same.
        inputs: See `node_costs`.
    """
    total = 0
    for cost in node_costs(model, 1, inputs):
        if cost.macs is None:
            return MacCount(None, cost.reason)
        total += cost.macs
    return MacCount(total)


def _cost(node: ir.Node, concrete: Concrete) -> NodeCost:
    shapes = concrete.shapes
    work, reason = _work(node, concrete)
    written = [value for value in node.outputs if value.uses() or value.is_graph_output()]
    return NodeCost(
        name=node.name or "",
        op_type=node.op_type,
        macs=work,
        bytes_read=_bytes({value: None for value in node.inputs if value is not None}, shapes),
        bytes_written=_bytes(written, shapes),
        reason=reason,
    )


def _work(node: ir.Node, concrete: Concrete) -> tuple[int | None, str | None]:
    where = f"node {node.name!r} ({node.op_type})"
    inner = next((n for g in subgraphs(node) for n in g.all_nodes() if carries_macs(n)), None)
    if inner is not None:
        return None, f"{where} runs {inner.name!r} ({inner.op_type}) an unknown number of times"
    if not carries_macs(node):
        return 0, None
    inputs = [None if v is None else concrete.shapes.get(v.name or "") for v in node.inputs]
    outputs = [concrete.shapes.get(value.name or "") for value in node.outputs]
    work = node_macs(node, inputs, outputs)
    if work is not None:
        return work, None
    if concrete.reason is not None:
        return None, f"{where}: {concrete.reason}"
    return None, f"{where}: multiply-accumulates of this form are not known"


def _bytes(values: Iterable[ir.Value], shapes: _Shapes) -> int | None:
    total = 0
    for value in values:
        if value.const_value is not None:
            total += value.const_value.nbytes
            continue
        shape = shapes.get(value.name or "")
        if shape is None or value.dtype is None or value.dtype.is_string():
            return None
        elements: int = prod(shape)
        total += ceil(elements * value.dtype.itemsize)
    return total
