"""Graphs that follow each other become one: what one makes, later ones read under the same name."""

from collections.abc import Iterable

import onnx_ir as ir
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, RemoveUnusedNodesPass

from compressor.errors import GraphError
from compressor.graph.chatter import silenced
from compressor.graph.initializers import FreeNames
from compressor.graph.names import make_unique

KEPT = 2**10
"""Elements up to which a constant in an attribute is looked at for being the same as another."""


def joined(parts: Iterable[ir.Model], whole: ir.Model) -> ir.Model:
    """One graph of several, which are used up; what they all compute is computed once.

    Args:
        parts: In order. Inputs are those of `whole`, and outputs of earlier parts, by name.
        whole: Inputs, outputs, metadata and functions are those of this graph.

    Raises:
        GraphError: A part reads what none before it makes, or no part makes an output.
    """
    known = {v.name or "": _like(v) for v in whole.graph.inputs if not v.is_initializer()}
    inputs, nodes = list(known.values()), list[ir.Node]()
    weights: dict[str, ir.Value] = {}
    names, opsets = FreeNames(known), dict(whole.opset_imports)
    functions = {function.identifier(): function for function in whole.functions.values()}
    for part in parts:
        graph = part.graph
        for value in graph.inputs:
            _replace(value, known)
        made = list(graph.outputs)
        graph.outputs.clear()
        for name, value in list(graph.initializers.items()):
            del graph.initializers[name]
            value.name = names.take(name)
            weights[value.name] = value
        moved = list(graph)
        graph.remove(moved)
        nodes += moved
        known |= {value.name or "": value for value in made}
        opsets |= {k: max(v, opsets.get(k, 0)) for k, v in part.opset_imports.items()}
        functions |= {one.identifier(): one for one in part.functions.values()}
    _forget_shapes(nodes)
    outputs = [_output(value, known) for value in whole.graph.outputs]
    graph = ir.Graph(
        inputs, outputs, nodes=nodes, initializers=tuple(weights.values()),
        opset_imports=opsets, name=whole.graph.name,
    )  # fmt: skip
    model = ir.Model(
        graph, ir_version=whole.ir_version, functions=list(functions.values()),
        metadata_props=dict(whole.metadata_props),
    )  # fmt: skip
    make_unique(model)
    return model


def computed_once(model: ir.Model) -> ir.Model:
    """Nodes that compute the same from the same become one, in place; and the model."""
    with silenced():
        CommonSubexpressionEliminationPass(size_limit=KEPT)(model)
        RemoveUnusedNodesPass()(model)
    make_unique(model)
    return model


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(name=value.name, shape=value.shape, type=value.type)


def _replace(value: ir.Value, known: dict[str, ir.Value]) -> None:
    """Let what reads a part's input read what an earlier part made."""
    there = known.get(value.name or "")
    if there is None:
        raise GraphError(f"the value {value.name!r} is read before any part of the graph makes it")
    value.replace_all_uses_with(there, replace_graph_outputs=True)


def _output(value: ir.Value, known: dict[str, ir.Value]) -> ir.Value:
    found = known.get(value.name or "")
    if found is None:
        raise GraphError(f"no part of the graph makes its output {value.name!r}")
    found.shape, found.type = value.shape, value.type or found.type
    return found


def _forget_shapes(nodes: Iterable[ir.Node]) -> None:
    """Shapes inside were those of the samples that a part was worked on with."""
    for node in nodes:
        for value in node.outputs:
            value.shape = None
