"""What answers at an exit: averages of a value's channels, and scores of classes from these.

A picture is averaged in the fields of a grid, tokens over their length, of those that a mask lets
count. Scores are a linear function of the averages: the internal classifiers of Kaya, Hong and
Dumitras 2019 ("Shallow-Deep Networks", arXiv 1810.07052, section 3.1), behind layers that stay.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.exits.cuts import Cut
from compressor.graph.tensors import Array

FLOAT = ir.DataType.FLOAT
AXES_AS_INPUT = 18
"""The opset from which reductions take their axes as an input."""


@dataclass(frozen=True)
class Head:
    """A trained exit.

    Attributes:
        value: What it reads.
        threshold: A sample leaves where the softmax of its best class is above.
        weight: (features, classes).
        bias: (classes,).
        grid: Fields along each side of a picture.
        channels_last: Where the channels of `value` lie.
        mask: The input that hides tokens; None where there is none.
    """

    value: str
    threshold: float
    weight: Array
    bias: Array
    grid: int = 1
    channels_last: bool = False
    mask: str | None = None


class Builder:
    """Adds nodes at the end of a graph, by names of their own."""

    def __init__(self, model: ir.Model, prefix: str) -> None:
        """Nothing is added yet."""
        self._model, self._prefix, self._count = model, prefix, 0
        self._opset = model.opset_imports.get("", 0)

    def add(
        self,
        op: str,
        *inputs: ir.Value,
        dtype: ir.DataType = FLOAT,
        **attributes: object,
    ) -> ir.Value:
        """A node of one output."""
        node = self.node(op, *inputs, dtype=dtype, **attributes)
        self._model.graph.append(node)
        return node.outputs[0]

    def node(
        self,
        op: str,
        *inputs: ir.Value,
        dtype: ir.DataType = FLOAT,
        **attributes: object,
    ) -> ir.Node:
        """The same, not yet in the graph."""
        self._count += 1
        name = f"{self._prefix}/{op}_{self._count}"
        given = {key: value for key, value in attributes.items() if value is not None}
        node = ir.node(op, inputs, given, name=name)  # type: ignore[arg-type]
        node.outputs[0].name, node.outputs[0].dtype = name, dtype
        return node

    def constant(self, array: Array) -> ir.Value:
        """An initializer."""
        self._count += 1
        name = f"{self._prefix}/constant_{self._count}"
        value = ir.Value(name=name, const_value=ir.tensor(array, name=name))
        value.dtype, value.shape = ir.DataType.from_numpy(array.dtype), ir.Shape(array.shape)
        self._model.graph.initializers[name] = value
        return value

    def reduced(self, op: str, x: ir.Value, axes: Sequence[int], **more: object) -> ir.Value:
        """A reduction, as the opset writes it."""
        if self._opset < AXES_AS_INPUT and op != "ReduceSum":
            return self.add(op, x, axes=list(axes), dtype=x.dtype or FLOAT, **more)
        given = self.constant(np.array(axes, np.int64))
        return self.add(op, x, given, dtype=x.dtype or FLOAT, **more)


def pooled(build: Builder, model: ir.Model, head: Head | Cut, mask: str | None) -> ir.Value:
    """The averages that a head reads, of shape (samples, features).

    Args:
        build: Adds to the graph.
        model: The graph.
        head: What is read, and how.
        mask: The input that hides tokens.

    Raises:
        RecipeError: The graph has no such value.
    """
    value = _read(build, model, head.value)
    rank = None if value.shape is None else len(value.shape)
    if head.grid > 1:
        height, width = _sizes(value, head)
        kernel = [height // head.grid, width // head.grid]
        value = build.add("AveragePool", value, kernel_shape=kernel, strides=kernel)
        return build.add("Flatten", value, axis=1)
    if head.channels_last:
        return value if rank == 2 else _over_tokens(build, model, value, mask, rank or 3)
    return build.add("Flatten", build.add("GlobalAveragePool", value), axis=1)


def _over_tokens(
    build: Builder, model: ir.Model, value: ir.Value, mask: str | None, rank: int
) -> ir.Value:
    """Σ m·x / max(Σ m, 1) over the axes between samples and channels; m is 1 without a mask."""
    if mask is None or rank != 3:
        return build.reduced("ReduceMean", value, range(1, rank - 1), keepdims=0)
    given = next(one for one in model.graph.inputs if one.name == mask)
    counts = build.add("Cast", given, to=int(FLOAT))
    weight = build.add("Unsqueeze", counts, build.constant(np.array([2], np.int64)))
    total = build.reduced("ReduceSum", build.add("Mul", value, weight), [1], keepdims=0)
    seen = build.reduced("ReduceSum", counts, [1], keepdims=1)
    return build.add(
        "Div", total, build.add("Max", seen, build.constant(np.array([1], np.float32)))
    )


def _read(build: Builder, model: ir.Model, name: str) -> ir.Value:
    """The value; dequantized where it is quantized, so that its layer stays in integers."""
    value = next(
        (one for node in model.graph for one in node.outputs if one.name == name and name), None
    )
    if value is None:
        raise RecipeError(
            f"the plan has an exit at {name!r}, which the graph lacks",
            hint="Replay a plan with the model and the version that it was made with.",
        )
    rounding = next((n for n in value.consumers() if n.op_type == "QuantizeLinear"), None)
    if rounding is None:
        return value
    scales = [one for one in rounding.inputs[1:] if one is not None]
    axis = rounding.attributes.get("axis")
    given: dict[str, Any] = {} if axis is None else {"axis": axis.as_int()}
    made = build.add("DequantizeLinear", rounding.outputs[0], *scales, **given)
    made.shape = value.shape
    return made


def _sizes(value: ir.Value, head: Head | Cut) -> tuple[int, int]:
    """Height and width of a picture.

    Raises:
        RecipeError: They are not known.
    """
    sizes = [] if value.shape is None else list(value.shape)[2:]
    if len(sizes) != 2 or not all(isinstance(size, int) for size in sizes):
        raise RecipeError(
            f"the exit at {head.value!r} reads a picture of known size, found {value.shape}",
            hint="Replay a plan with the model and the version that it was made with.",
        )
    height, width = (int(str(size)) for size in sizes)
    return height, width
