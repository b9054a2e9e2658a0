"""An ONNX model's bytes, piece by piece: large weights are copied past the serializer.

    field of a message = key · length · content,   key = number << 3 | 2

(Protocol Buffers, encoding: length-delimited fields). The serializer writes fields by rising
number, so what comes before and behind the weights is serialized without them, and the weights are
put between. The bytes are those that the serializer would make of the whole.
"""

from collections.abc import Iterator
from typing import Any

import onnx
import onnx_ir as ir

from compressor.graph.tensor_bytes import each_block

LEAST = 2**16
"""Bytes of a tensor from which it goes past the serializer; a large model has hundreds below."""
_GRAPH, _INITIALIZER, _RAW = 7, 5, 9
"""Fields of ModelProto, GraphProto and TensorProto, by number."""


def pieces(model: ir.Model, least: int = LEAST) -> Iterator[bytes]:
    """The bytes of a model with every weight inside, which may be more than memory holds.

    Args:
        model: It stays as it is.
        least: Bytes of an initializer from which it is never whole in memory.
    """
    light, large = stubbed(model, least)
    proto = ir.to_proto(light)
    start, behind = _around(proto.graph, _INITIALIZER)
    weights = [_weight(one, large.get(one.name)) for one in proto.graph.initializer]
    size = (
        len(start) + len(behind) + sum(len(head) + data + len(tail) for head, data, tail in weights)
    )
    before, after = _around(proto, _GRAPH)
    yield before + _key(_GRAPH, size) + start
    for one, (head, _, tail) in zip(proto.graph.initializer, weights, strict=True):
        yield head
        tensor = large.get(one.name)
        if tensor is not None:
            yield from each_block(tensor)
        yield tail
    yield behind + after


def stubbed(model: ir.Model, least: int = LEAST) -> tuple[ir.Model, dict[str, ir.TensorProtocol]]:
    """A copy whose large initializers refer to a file that is not there, and those weights."""
    light, large = model.clone(), dict[str, ir.TensorProtocol]()
    for graph in light.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None:
                continue
            if graph is light.graph and tensor.nbytes >= least and not tensor.dtype.is_string():
                large[name] = tensor
                value.const_value = _stub(tensor, name)
            elif isinstance(tensor, ir.ExternalTensor):
                value.const_value = in_memory(tensor)
    return light, large


def in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """A tensor over the same (possibly mapped) data that is serialized with its data inside."""
    return ir.Tensor(
        tensor.numpy(), dtype=tensor.dtype, name=tensor.name, doc_string=tensor.doc_string
    )


def _stub(tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        "weights", 0, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name,
        doc_string=tensor.doc_string, metadata_props=dict(tensor.metadata_props),
    )  # fmt: skip


def _weight(proto: onnx.TensorProto, tensor: ir.TensorProtocol | None) -> tuple[bytes, int, bytes]:
    """What comes before the data of an initializer, how long that is, and what comes behind."""
    if tensor is None:
        whole = proto.SerializeToString(deterministic=True)
        return _key(_INITIALIZER, len(whole)) + whole, 0, b""
    plain = onnx.TensorProto()
    plain.CopyFrom(proto)
    plain.ClearField("external_data")
    plain.ClearField("data_location")
    before, after = _around(plain, _RAW)
    before += _key(_RAW, tensor.nbytes)
    length = len(before) + tensor.nbytes + len(after)
    return _key(_INITIALIZER, length) + before, tensor.nbytes, after


def _around(message: Any, number: int) -> tuple[bytes, bytes]:
    """A message's fields before one, and those behind it, serialized; that one is not copied."""
    before, behind = (type(message)() for _ in range(2))
    for one, value in message.ListFields():
        if one.number == number:
            continue
        side = before if one.number < number else behind
        if hasattr(value, "ListFields"):  # a message
            getattr(side, one.name).CopyFrom(value)
        elif hasattr(value, "MergeFrom"):  # repeated
            getattr(side, one.name).MergeFrom(value)
        else:
            setattr(side, one.name, value)
    return before.SerializeToString(deterministic=True), behind.SerializeToString(
        deterministic=True
    )


def _key(number: int, length: int) -> bytes:
    """Key and length of a field."""
    return bytes([number << 3 | 2]) + _varint(length)


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
