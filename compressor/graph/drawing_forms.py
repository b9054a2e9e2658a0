"""What operators that draw compute, as a function of standard numbers that are drawn outside.

With z of mean 0 and variance 1, and u uniform from 0 to 1:

    RandomNormal(Like)     scale · z + mean
    RandomUniform(Like)    (high - low) · u + low
    Bernoulli(p)           1 where u < p; where u > p as some runtimes have it, see `form_of`
    Dropout(x, r)          x / (1 - r) where u < 1 - r, else 0
    Multinomial(l)         the number of classes k but for the last with softmax(l)_1 + ... +
                           softmax(l)_k ≤ u: the inverse of the cumulative distribution

One file, as all are a few nodes each and share what makes these.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import scalar
from compressor.graph.draws import Kind
from compressor.graph.initializers import add_initializer
from compressor.graph.tensors import Array

_AXES_AS_INPUT = 13
"""The first opset in which ReduceSum reads its axes."""
_MULTINOMIAL = 11
"""The first opset that has CumSum."""


@dataclass(frozen=True)
class DrawingForm:
    """The form of a node that draws random numbers.

    Attributes:
        kind: What it draws.
        dtype: In which type.
        sizes: Sizes of what it draws, where they are written down; else they are those of `like`.
        like: The value whose sizes they are.
        last: The size of the last axis, where that is not the one of `like`.
        compute: What it makes of the numbers: a value for each of its outputs, None for those
            that nothing reads.
    """

    kind: Kind
    dtype: ir.DataType
    sizes: tuple[int, ...] | None
    like: ir.Value | None
    compute: "Callable[[Builder, ir.Value], list[ir.Value | None]]"
    last: int | None = None


class Builder:
    """Makes the nodes that take the place of one, under names that begin with its own.

    Args:
        node: What they replace.
        graph: The outermost graph, which holds constants.
        opset: Opset of the model.
    """

    def __init__(self, node: ir.Node, graph: ir.Graph, opset: int) -> None:
        self.made: list[ir.Node] = []
        self.opset = opset
        self._node, self._graph = node, graph

    def op(self, op_type: str, *inputs: ir.Value, **attributes: int) -> ir.Value:
        """Append a node; its output."""
        name = f"{self._node.name}/{op_type}_{len(self.made)}"
        made = ir.node(op_type, inputs, attributes, name=name)
        made.outputs[0].name = f"{name}_output"
        self.made.append(made)
        return made.outputs[0]

    def constant(self, array: Array) -> ir.Value:
        """A constant beside the nodes."""
        name = f"{self._node.name}/constant_{len(self._graph.initializers)}"
        return add_initializer(self._graph, name, array)

    def number(self, number: float, dtype: ir.DataType) -> ir.Value:
        """A constant number of a type."""
        return self.constant(np.asarray(number, dtype.numpy()))

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """The value in another type."""
        return self.op("Cast", value, to=int(dtype))


def form_of(node: ir.Node, opset: int, *, inverted: bool = False) -> DrawingForm | str:
    """The form of a node that draws, or why it has none.

    Args:
        node: The node.
        opset: Opset of the model.
        inverted: Whether Bernoulli is 1 with the probability 1 - p: the body that ONNX gives it up
            to opset 21 says so, against its own description, and ONNX Runtime runs that body.
    """
    try:
        if node.op_type == "Bernoulli":
            return _bernoulli(node, inverted=inverted)
        return _FORMS[node.op_type](node, opset)
    except _NoFormError as error:
        return str(error)


class _NoFormError(Exception):
    """Why a node has no form; never leaves this file."""


def _affine(node: ir.Node, opset: int) -> DrawingForm:
    """Draws of a fixed distribution."""
    del opset
    normal = "Normal" in node.op_type
    read, like = node.attributes.get_float, None
    if normal:
        shift, scale = read("mean", 0.0), read("scale", 1.0)
    else:
        shift = read("low", 0.0)
        scale = read("high", 1.0) - shift
    dtype = node.attributes.get_int("dtype", 0)
    sizes = None
    if node.op_type.endswith("Like"):
        like = _input(node, 0)
        dtype = dtype or _type(like)
    else:
        sizes = tuple(node.attributes.get_ints("shape", ()))
    kind = ir.DataType(dtype or int(ir.DataType.FLOAT))

    def compute(build: Builder, drawn: ir.Value) -> list[ir.Value | None]:
        value = drawn
        if scale != 1:
            value = build.op("Mul", value, build.number(scale, kind))
        if shift != 0:
            value = build.op("Add", value, build.number(shift, kind))
        return [build.op("Identity", value) if value is drawn else value]

    return DrawingForm("normal" if normal else "uniform", kind, sizes, like, compute)


def _bernoulli(node: ir.Node, *, inverted: bool) -> DrawingForm:
    chance = _input(node, 0)
    kind = ir.DataType(node.attributes.get_int("dtype", 0) or _type(chance))
    given = ir.DataType(_type(chance))

    def compute(build: Builder, drawn: ir.Value) -> list[ir.Value | None]:
        limit = chance if given is ir.DataType.FLOAT else build.cast(chance, ir.DataType.FLOAT)
        return [build.cast(build.op("Greater" if inverted else "Less", drawn, limit), kind)]

    return DrawingForm("uniform", ir.DataType.FLOAT, None, chance, compute)


def _dropout(node: ir.Node, opset: int) -> DrawingForm:
    del opset
    value = _input(node, 0)
    ratio = scalar(node.inputs[1], 0.5)
    if ratio is None or scalar(node.inputs[2], 0) is None:
        raise _NoFormError("its ratio, or whether it drops, is computed in the graph")
    if not ratio < 1:
        raise _NoFormError("it drops everything")
    kind, kept = ir.DataType(_type(value)), 1 - ratio

    def compute(build: Builder, drawn: ir.Value) -> list[ir.Value | None]:
        mask = build.op("Less", drawn, build.number(kept, ir.DataType.FLOAT))
        factor = build.op("Mul", build.cast(mask, kind), build.number(1 / kept, kind))
        dropped = build.op("Mul", value, factor)
        made: list[ir.Value | None] = [dropped, mask]
        return made[: len(node.outputs)]

    return DrawingForm("uniform", ir.DataType.FLOAT, None, value, compute)


def _multinomial(node: ir.Node, opset: int) -> DrawingForm:
    if opset < _MULTINOMIAL:
        raise _NoFormError(f"opset {opset} has no CumSum: export it with {_MULTINOMIAL} or later")
    logits = _input(node, 0)
    kind = ir.DataType(node.attributes.get_int("dtype", int(ir.DataType.INT32)))
    given = ir.DataType(_type(logits))

    def compute(build: Builder, drawn: ir.Value) -> list[ir.Value | None]:
        def integers(*numbers: int) -> ir.Value:
            return build.constant(np.asarray(numbers, np.int64))

        exact = logits if given is ir.DataType.FLOAT else build.cast(logits, ir.DataType.FLOAT)
        chances = build.op("Softmax", exact, axis=1)
        summed = build.op("CumSum", chances, build.constant(np.asarray(1, np.int64)))
        limits = build.op("Slice", summed, integers(0), integers(-1), integers(1))
        below = build.op(
            "Less",
            build.op("Reshape", drawn, integers(0, -1, 1)),
            build.op("Reshape", limits, integers(0, 1, -1)),
        )
        passed = build.cast(build.op("Not", below), ir.DataType.FLOAT)
        count = _summed(build, passed, integers)
        return [build.cast(count, kind)]

    size = node.attributes.get_int("sample_size", 1)
    return DrawingForm("uniform", ir.DataType.FLOAT, None, logits, compute, last=size)


def _summed(build: Builder, value: ir.Value, integers: Callable[[int], ir.Value]) -> ir.Value:
    """The sum over the last axis of three."""
    if build.opset >= _AXES_AS_INPUT:
        return build.op("ReduceSum", value, integers(2), keepdims=0)
    made = build.op("ReduceSum", value, keepdims=0)
    made.producer().attributes.add(ir.AttrInt64s("axes", [2]))  # type: ignore[union-attr]
    return made


def _input(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None:
        raise _NoFormError(f"its input {index} is missing")
    return value


def _type(value: ir.Value) -> int:
    if value.dtype is None:
        raise _NoFormError(f"the type of {value.name!r} is not known")
    return int(value.dtype)


_FORMS: dict[str, Callable[[ir.Node, int], DrawingForm]] = {
    **dict.fromkeys(("RandomNormal", "RandomNormalLike"), _affine),
    **dict.fromkeys(("RandomUniform", "RandomUniformLike"), _affine),
    "Dropout": _dropout,
    "Multinomial": _multinomial,
}
