"""SHA-256 of what a model computes: its structure, names and weights."""

import hashlib
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import onnx_ir as ir

from compressor.graph.tensor_bytes import each_block


def fingerprint(model: ir.Model) -> str:
    """SHA-256, in hexadecimal, of a model's structure and weights.

    Names of nodes and values take part, because plans and statistics are keyed by them. Doc
    strings, metadata, producer, inferred shapes of values inside the graph and the way the
    weights are stored do not. The same in every process.
    """
    digest = hashlib.sha256()
    for part in _model_parts(model):
        digest.update(json.dumps(part, separators=(",", ":"), sort_keys=True).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def tensor_digest(tensor: ir.TensorProtocol) -> str:
    """SHA-256, in hexadecimal, of a tensor's element type, shape and content."""
    digest = hashlib.sha256(f"{tensor.dtype.name}{list(tensor.shape.numpy())}".encode())
    for block in each_block(tensor):
        digest.update(block)
    return digest.hexdigest()


def _model_parts(model: ir.Model) -> Iterator[Any]:
    yield ["opsets", sorted(model.opset_imports.items())]
    yield from _graph_parts(model.graph)
    for key in sorted(model.functions):
        function = model.functions[key]
        yield ["function", list(key), sorted(function.opset_imports.items())]
        yield [[value.name for value in function.inputs], [v.name for v in function.outputs]]
        yield sorted(function.attributes)
        for node in function:
            yield from _node_parts(node)


def _graph_parts(graph: ir.Graph) -> Iterator[Any]:
    yield ["inputs", [_interface(value) for value in graph.inputs]]
    yield ["outputs", [_interface(value) for value in graph.outputs]]
    for name in sorted(graph.initializers):
        tensor = graph.initializers[name].const_value
        yield ["initializer", name, None if tensor is None else tensor_digest(tensor)]
    for node in graph:
        yield from _node_parts(node)


def _node_parts(node: ir.Node) -> Iterator[Any]:
    inputs = [None if value is None else value.name for value in node.inputs]
    outputs = [value.name for value in node.outputs]
    yield ["node", node.name, node.domain, node.op_type, node.overload, inputs, outputs]
    for name in sorted(node.attributes):
        attribute = node.attributes[name]
        yield ["attribute", name, attribute.type.name, *_attribute_parts(attribute)]


def _attribute_parts(attribute: ir.Attr) -> list[Any]:
    kinds = ir.AttributeType
    if attribute.is_ref():
        return ["reference", attribute.ref_attr_name]
    if attribute.type == kinds.TENSOR:
        return [tensor_digest(attribute.as_tensor())]
    if attribute.type == kinds.TENSORS:
        return [tensor_digest(tensor) for tensor in attribute.as_tensors()]
    if attribute.type == kinds.GRAPH:
        return list(_graph_parts(attribute.as_graph()))
    if attribute.type == kinds.GRAPHS:
        return list(chain.from_iterable(_graph_parts(graph) for graph in attribute.as_graphs()))
    if isinstance(attribute.value, list | tuple):
        return list(attribute.value)
    plain = isinstance(attribute.value, int | float | str)
    return [attribute.value if plain else str(attribute.value)]


def _interface(value: ir.Value) -> list[Any]:
    shape = None if value.shape is None else [str(size) for size in value.shape]
    return [value.name, None if value.dtype is None else value.dtype.name, shape]
