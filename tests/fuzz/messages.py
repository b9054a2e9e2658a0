"""Messages of a model, one of them at random, and any field with one thing done to it."""

from collections.abc import Iterator
from random import Random
from typing import Any

import onnx
from onnx import TensorProto

from fuzz import hostile

Model = Any
Message = Any


def messages_of(message: Message) -> Iterator[Message]:
    """It, and all that are within."""
    yield message
    for field, content in message.ListFields():
        if field.message_type is not None:
            for inner in content if field.is_repeated else (content,):
                yield from messages_of(inner)


def names_of(model: Model) -> list[str]:
    """Names of nodes and values of the main graph."""
    graph = model.graph
    found = [name for node in graph.node for name in (*node.input, *node.output, node.name)]
    found += [value.name for value in (*graph.input, *graph.output, *graph.initializer)]
    return sorted(set(found)) or ["x"]


def a_node(rng: Random, model: Model) -> Any:
    nodes = [message for message in messages_of(model.graph) if isinstance(message, onnx.NodeProto)]
    return rng.choice(nodes) if nodes else model.graph.node.add()


def a_tensor(rng: Random, model: Model) -> Any:
    found = [message for message in messages_of(model) if isinstance(message, TensorProto)]
    return rng.choice(found) if found else model.graph.initializer.add(name="made")


def broken_field(rng: Random, model: Model) -> None:
    """Any field of any message within."""
    message = rng.choice(list(messages_of(model)))
    field = rng.choice(message.DESCRIPTOR.fields)
    if field.is_repeated:
        _break_repeated(rng, getattr(message, field.name), field, model)
    elif rng.random() < 0.25:
        message.ClearField(field.name)
    elif field.message_type is None:
        _set(rng, message, field, model)
    else:
        getattr(message, field.name).SetInParent()


def _break_repeated(rng: Random, items: Any, field: Any, model: Model) -> None:
    at = rng.randrange(len(items)) if len(items) else 0
    how = rng.randrange(6)
    scalar = field.message_type is None
    if how == 0:
        del items[:]
    elif how == 1 and len(items):
        del items[at]
    elif how == 2 and len(items):
        items.extend([items[at]] * rng.choice((1, 1, 20)))
    elif how == 3 and len(items) > 1:
        other = rng.randrange(len(items))
        kept = list(items)
        kept[at], kept[other] = kept[other], kept[at]
        copied = [
            item if scalar else type(item).FromString(item.SerializeToString()) for item in kept
        ]
        del items[:]
        items.extend(copied)
    elif scalar and how == 4 and len(items):
        items[at] = _scalar(rng, field, model)
    elif scalar:
        items.append(_scalar(rng, field, model))
    else:
        items.add()


def _set(rng: Random, message: Message, field: Any, model: Model) -> None:
    if field.type == field.TYPE_BYTES:
        setattr(message, field.name, hostile.broken_bytes(rng, getattr(message, field.name)))
    else:
        setattr(message, field.name, _scalar(rng, field, model))


def _scalar(rng: Random, field: Any, model: Model) -> Any:
    if field.type == field.TYPE_STRING:
        return rng.choice(names_of(model)) if rng.random() < 0.5 else hostile.text(rng)
    if field.type == field.TYPE_BYTES:
        return rng.choice((b"", b"x", b"\xff" * 9, hostile.MARKUP.encode()))
    if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return hostile.number(rng)
    number = rng.choice((hostile.integer(rng), rng.randrange(30)))
    if field.cpp_type == field.CPPTYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
    signed = field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return max(low, min(high, number))
