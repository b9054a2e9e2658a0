"""Notes that exporters leave in a graph: stack traces, modules, and paths of the machine it was on.

Nothing that runs a graph reads them, and whoever gets an artifact has no business with them.
"""

import re
from typing import Any

import onnx
import onnx_ir as ir

_PATH = re.compile(r'File "|[\w.-]+[/\\][^\s:"]*\.(py|cpp|cc|h)\b|^(/|[A-Za-z]:\\)[^\n]*$')
"""A traceback, a path to a source file, or an absolute path alone."""


def without_notes(model: ir.Model) -> ir.Model:
    """A copy without the notes on nodes, values, weights, graphs and functions.

    What the model says of itself as a whole stays, as class names are kept there; but for what
    names a path. Weights are shared.
    """
    copy = model.clone()
    for graph in copy.graphs():
        _clear(graph)
        for value in (*graph.inputs, *graph.initializers.values()):
            _clear(value)
            value.const_value = _plain(value.const_value)
        for node in graph:
            _clear_node(node)
    for function in copy.functions.values():
        _clear(function)
        for node in function.all_nodes():
            _clear_node(node)
        for value in function.inputs:
            _clear(value)
    for key, text in list(copy.metadata_props.items()):
        if key.startswith("pkg.torch") or _PATH.search(text):
            del copy.metadata_props[key]
    if copy.doc_string and _PATH.search(copy.doc_string):
        copy.doc_string = None
    return copy


def _clear_node(node: ir.Node) -> None:
    _clear(node)
    for value in node.outputs:
        _clear(value)
    for name, attribute in list(node.attributes.items()):
        attribute.doc_string = None
        if not attribute.is_ref() and attribute.type == ir.AttributeType.TENSOR:
            tensor = attribute.as_tensor()
            if (plain := _plain(tensor)) is not None and plain is not tensor:
                node.attributes[name] = ir.AttrTensor(name, plain)


def _clear(part: Any) -> None:
    part.metadata_props.clear()
    part.doc_string = None


def _plain(tensor: ir.TensorProtocol | None) -> ir.TensorProtocol | None:
    """The tensor without its note: itself, or another where it is a part of a message."""
    if tensor is None or not tensor.doc_string:
        return tensor
    if not isinstance(tensor, ir.TensorProtoTensor):
        tensor.doc_string = None
        return tensor
    message = onnx.TensorProto()
    message.CopyFrom(ir.serde.serialize_tensor(tensor))
    message.ClearField("doc_string")
    return ir.TensorProtoTensor(message)
