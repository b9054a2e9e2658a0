"""What a file has to hold to be a graph at all, and the order that every stage relies on.

ONNX wants nodes to come after what they read. ONNX Runtime and TensorRT take them in any order, and
tools write them so: `onnxruntime.transformers.float16` appends the casts of inputs at the end.
"""

from collections.abc import Iterator
from typing import cast

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InvariantError
from onnx_ir.passes.common import InlinePass

from compressor.errors import CheckpointError
from compressor.graph.constants import constant
from compressor.graph.invariants import subgraphs
from compressor.graph.schemas import schema_of

MOST_NODES = 1_000_000
"""Nodes of a graph: a language model of a hundred layers has some ten thousand."""
_DAMAGED = "export the model again: ONNX's own checker refuses it too"


def make_sound(model: ir.Model, where: str) -> None:
    """Bring nodes in order and functions to the model's opsets, in place.

    Args:
        model: The model as it was read.
        where: The file, for messages.

    Raises:
        CheckpointError: A value is read or returned that nothing writes, nodes or functions run in
            a circle, a standard operator has an attribute of another type than ONNX says or writes
            nothing, a node outside of functions refers to an attribute of one, a function needs
            another version of an operator than the model, functions call each other so often that
            they make more than `MOST_NODES` nodes, or values are quantized by a negative scale.
    """
    bodies = [model.graph, *(function.graph for function in model.functions.values())]
    for body in bodies:
        for graph in (body, *body.subgraphs()):
            _check_values(graph, where)
        if not _in_order(body, set()):
            try:
                body.sort()
            except ValueError as error:
                message = f"{where}: nodes of the graph {body.name!r} wait for each other's outputs"
                raise CheckpointError(message, hint=_DAMAGED) from error
    _check_operators(model.graph.all_nodes(), model.opset_imports, where)
    _check_references(model.graph.all_nodes(), where)
    _check_scales(model.graph.all_nodes(), where)
    for function in model.functions.values():
        _check_operators(function.all_nodes(), function.opset_imports, where)
        _align(function, model.opset_imports, where)
    try:
        InlinePass().requires(model)
    except InvariantError as error:
        message = f"{where}: local functions call each other in a circle: {error}"
        raise CheckpointError(message, hint=_DAMAGED) from error
    _check_size(model, where)


def _check_size(model: ir.Model, where: str) -> None:
    """A few functions that each call the next one twice make more nodes than any memory holds."""
    counts = dict[object, int]()

    def nodes(graph: ir.Graph | ir.Function) -> int:
        return sum(called(node) for node in graph.all_nodes())

    def called(node: ir.Node) -> int:
        function = model.functions.get(node.op_identifier())
        if function is None:
            return 1
        if node.op_identifier() not in counts:
            counts[node.op_identifier()] = nodes(function)
        return counts[node.op_identifier()]

    count = nodes(model.graph)
    if count > MOST_NODES:
        raise CheckpointError(
            f"{where}: with its local functions written out the graph has {count:,} nodes, more "
            f"than the {MOST_NODES:,} that can be read",
            hint="Functions in it call each other over and over: export the model without them.",
        )


def _check_values(graph: ir.Graph, where: str) -> None:
    for node in graph:
        for value in node.inputs:
            if value is not None and not _exists(value):
                raise CheckpointError(
                    f"{where}: {_name(node)} reads {value.name!r}, which nothing writes",
                    hint=_DAMAGED,
                )
    for value in graph.outputs:
        if not _exists(value):
            raise CheckpointError(
                f"{where}: nothing in the graph writes its output {value.name!r}", hint=_DAMAGED
            )


def _exists(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _in_order(graph: ir.Graph, done: set[ir.Node]) -> bool:
    for node in graph:
        made_by = (value.producer() for value in node.inputs if value is not None)
        if any(writer is not None and writer not in done for writer in made_by):
            return False
        if not all(_in_order(body, done) for body in subgraphs(node)):
            return False
        done.add(node)
    return True


def _check_operators(nodes: Iterator[ir.Node], imports: dict[str, int], where: str) -> None:
    for node in nodes:
        schema = schema_of(node, imports.get(node.domain, 0)) if node.domain == "" else None
        if schema is None:
            continue
        for name, attribute in node.attributes.items():
            wanted = schema.attributes.get(name)
            kind = None if wanted is None else ir.AttributeType(cast(int, wanted.type))
            if kind is not None and kind != attribute.type:
                raise CheckpointError(
                    f"{where}: the attribute {name!r} of {_name(node)} should be "
                    f"{kind.name} and is {attribute.type.name}",
                    hint=_DAMAGED,
                )
        if len(node.outputs) < schema.min_output:
            raise CheckpointError(f"{where}: {_name(node)} writes no output", hint=_DAMAGED)


def _check_references(nodes: Iterator[ir.Node], where: str) -> None:
    """Only a function has attributes that others give; elsewhere readers differ in what it is."""
    for node in nodes:
        for attribute in node.attributes.values():
            if attribute.is_ref():
                raise CheckpointError(
                    f"{where}: the attribute {attribute.name!r} of {_name(node)} refers to "
                    f"{attribute.ref_attr_name!r} of a function, and the node is in none",
                    hint=_DAMAGED,
                )


def _check_scales(nodes: Iterator[ir.Node], where: str) -> None:
    """Runtimes leave out a Relu before QuantizeLinear, or refuse: they take scales for positive."""
    for node in nodes:
        if node.op_type != "QuantizeLinear" or len(node.inputs) < 2:
            continue
        scale = constant(node.inputs[1], overridable=True)
        if scale is None or isinstance(scale, ir.ExternalTensor):
            continue
        least = float(np.min(scale.numpy(), initial=np.inf))
        if not least >= 0:
            raise CheckpointError(
                f"{where}: {_name(node)} has the scale {least:g}; scales are positive",
                hint="quantize the model again: what a runtime makes of this one is not defined",
            )


def _align(function: ir.Function, imports: dict[str, int], where: str) -> None:
    """Give a function the model's opsets where its operators are the same in both."""
    for domain, version in list(function.opset_imports.items()):
        ours = imports.get(domain, version)
        for node in function.all_nodes() if ours != version else ():
            own = schema_of(node, version) if node.domain == domain else None
            new = None if own is None else schema_of(node, ours)
            if own is not None and (new is None or own.since_version != new.since_version):
                raise CheckpointError(
                    f"{where}: the function {function.name!r} means {node.op_type} of opset "
                    f"{version}, and the model imports {ours}",
                    hint="export the model again with one opset for the model and its functions",
                )
        function.opset_imports[domain] = ours


def _name(node: ir.Node) -> str:
    return f"node {node.name!r} ({node.op_type})"
