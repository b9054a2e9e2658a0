"""Operators on sizes: what exporters put between Shape and the Reshape that uses it."""

import operator
from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from compressor.pruning.coupling.dimensions import Walk, size_dimensions
from compressor.pruning.coupling.sizes import ComputedSize, Sizes, combined, opaque, stored

_MOST = 64
"""Elements of a value up to which it is followed."""

_PRESERVING = frozenset({"Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten"})

_ARITHMETIC: dict[str, tuple[Callable[[int, int], int], Callable[[float, float], float]]] = {
    "Add": (operator.add, operator.add),
    "Sub": (operator.sub, operator.sub),
    "Mul": (operator.mul, operator.mul),
    "Div": (lambda a, b: int(a / b) if b else 0, lambda a, b: a / b if b else 0.0),
}
"""Arithmetic on numbers and on polynomials of sizes; a division that leaves a rest is none."""


def computed_sizes(walk: Walk, node: ir.Node) -> Sizes | None:
    """The output of a node as sizes; None where it is none or is not followed."""
    if node.domain != "" or not node.outputs:
        return None
    if node.op_type in ("Shape", "ComputedSize"):
        return _shape(walk, node)
    function = _FOLLOWED.get(node.op_type)
    dtype = node.outputs[0].dtype
    if function is None or dtype is None or not (dtype.is_integer() or dtype == ir.DataType.BOOL):
        return None
    inputs = [walk.known_sizes(value, node, i) for i, value in enumerate(node.inputs)]
    if any(found is None and node.inputs[i] is not None for i, found in enumerate(inputs)):
        return None
    found = function(walk, node, [sizes for sizes in inputs if sizes is not None])
    return found if found is None or found.size <= _MOST else None


def _shape(walk: Walk, node: ir.Node) -> Sizes | None:
    value = node.inputs[0]
    sizes = None if value is None else size_dimensions(walk, value)
    if sizes is None or node.op_type == "Shape":
        start, end = node.attributes.get_int("start", 0), node.attributes.get_int("end", None)
        return None if sizes is None else sizes[start:end]
    product = stored(1)
    for size in sizes:
        product = combined(product, size, product.number * size.number, operator.mul)
    return _scalar(product)


def _scalar(size: ComputedSize) -> Sizes:
    found = np.empty((), object)
    found[()] = size
    return found


def _same(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    return inputs[0].reshape(walk.shape(node.outputs[0]))


def _cast(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    del walk
    to = ir.DataType(node.attributes["to"].as_int())
    return inputs[0] if to in (ir.DataType.INT64, ir.DataType.INT32) else None


def _concat(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    del walk
    return np.concatenate(inputs, axis=node.attributes["axis"].as_int())


def _gather(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    del walk
    indices = _numbers(inputs[1])
    return None if indices is None else _array(inputs[0], indices, node)


def _array(sizes: Sizes, indices: np.ndarray, node: ir.Node) -> Sizes:
    found = np.empty_like(sizes, shape=(), dtype=object)
    taken = sizes.take(indices, axis=node.attributes.get_int("axis", 0))
    if isinstance(taken, np.ndarray):
        return taken
    found[()] = taken
    return found


def _slice(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    del walk, node
    sizes, *bounds = inputs
    numbers = [_numbers(bound) for bound in bounds]
    if sizes.ndim != 1 or any(n is None or n.size != 1 for n in numbers):
        return None
    start, end, *rest = (int(n.reshape(())) for n in numbers if n is not None)
    step = rest[1] if len(rest) > 1 else 1
    reaches_front = step < 0 and end < -len(sizes)
    return sizes[start : None if reaches_front else end : step]


def _arithmetic(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    on_numbers, on_formulas = _ARITHMETIC[node.op_type]

    def one(a: ComputedSize, b: ComputedSize) -> ComputedSize:
        walk.fix(a)
        walk.fix(b)
        return combined(a, b, on_numbers(a.number, b.number), on_formulas)

    return _each(one, *inputs)


def _equal(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    """A size is never negative; whether it equals another number is not followed."""
    del node

    def one(a: ComputedSize, b: ComputedSize) -> ComputedSize:
        walk.fix(a)
        walk.fix(b)
        number = int(a.number == b.number)
        known = (a.constant and b.constant) or a.number < 0 or b.number < 0
        return stored(number) if known else opaque(number, a, b)

    return _each(one, *inputs)


def _where(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    del walk, node

    def one(condition: ComputedSize, yes: ComputedSize, no: ComputedSize) -> ComputedSize:
        chosen = yes if condition.number else no
        return chosen if condition.constant else opaque(chosen.number, condition, yes, no)

    return _each(one, *inputs)


def _product(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    if inputs[0].ndim != 1:
        return None
    product = stored(1)
    for size in inputs[0]:
        walk.fix(size)
        product = combined(product, size, product.number * size.number, operator.mul)
    return _scalar(product).reshape(walk.shape(node.outputs[0]))


def _filled(walk: Walk, node: ir.Node, inputs: list[Sizes]) -> Sizes | None:
    value = node.attributes.get("value")
    number = 0 if value is None else int(value.as_tensor().numpy().ravel()[0])
    if not all(size.constant for size in inputs[0].ravel()):
        return None
    found = np.empty(walk.shape(node.outputs[0]), object)
    found.fill(stored(number))
    return found


def _numbers(sizes: Sizes) -> np.ndarray | None:
    if not all(size.constant for size in sizes.ravel()):
        return None
    return np.array([size.number for size in sizes.ravel()], np.int64).reshape(sizes.shape)


def _each(function: Callable[..., ComputedSize], *inputs: Sizes) -> Sizes:
    aligned = np.broadcast_arrays(*inputs)
    found = np.empty(aligned[0].shape, object)
    for index in np.ndindex(found.shape):
        found[index] = function(*(sizes[index] for sizes in aligned))
    return found


_FOLLOWED: dict[str, Callable[[Walk, ir.Node, list[Sizes]], Sizes | None]] = {
    **dict.fromkeys(_PRESERVING, _same),
    **dict.fromkeys(_ARITHMETIC, _arithmetic),
    "Cast": _cast,
    "Concat": _concat,
    "Gather": _gather,
    "Slice": _slice,
    "Equal": _equal,
    "Where": _where,
    "ReduceProd": _product,
    "ConstantOfShape": _filled,
}
