"""Reshape and its like: dimensions that are split, merged, repeated and stretched.

The old and the new shape are cut where the products of their leading sizes agree. Each segment
has as many positions before as after. One dimension of each side carries its labels and the
others stay whole, so that what is kept is rectangular in both shapes: position f of the segment
lies at (f // s) mod n of a dimension of size n and stride s.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import gcd, prod

import numpy as np
import onnx_ir as ir

from compressor.pruning.dimensions import Dimensions, Walk
from compressor.pruning.labels import Ints

_OTHER = "another dimension that it is split from or merged with is the one that shrinks"


@dataclass(frozen=True)
class _Segment:
    """Axes before and after with the same number of positions."""

    old: tuple[int, ...]
    new: tuple[int, ...]


def reshape(walk: Walk, node: ir.Node) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze: the same positions in other dimensions."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    old, sizes = walk.of(x), walk.shape(y)
    if 0 in (*walk.shape(x), *sizes):
        walk.freeze_all(node, "an empty tensor is reshaped")
        return
    result: Dimensions = [walk.fresh(1) for _ in sizes]
    for segment in _segments(walk.shape(x), sizes):
        _carry(walk, node, segment, old, result, sizes)
    walk.give(y, result)
    if node.op_type == "Reshape":
        _shape_input(walk, node, old, result)


def _shape_input(walk: Walk, node: ir.Node, old: Dimensions, result: Dimensions) -> None:
    wanted = walk.known_sizes(node.inputs[1], node, 1)
    if wanted is None:
        for labels in result:
            walk.freeze(labels, "its shape is computed")
        return
    copying = not node.attributes.get_int("allowzero", 0)
    for axis, size in enumerate(wanted.ravel()):
        if size.constant and size.number == -1:
            continue
        if size.constant and size.number == 0 and copying:
            walk.same_count(old[axis], node.outputs[0], axis)
        else:
            walk.demand(size, node.outputs[0], axis)


def _segments(old: tuple[int, ...], new: tuple[int, ...]) -> list[_Segment]:
    """The finest cuts; dimensions of one position are left out."""
    a = [axis for axis, size in enumerate(old) if size > 1]
    b = [axis for axis, size in enumerate(new) if size > 1]
    segments = []
    i = j = 0
    while i < len(a):
        first, second = [a[i]], [b[j]]
        left, right = old[a[i]], new[b[j]]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left, i = left * old[a[i]], i + 1
                first.append(a[i - 1])
            else:
                right, j = right * new[b[j]], j + 1
                second.append(b[j - 1])
        segments.append(_Segment(tuple(first), tuple(second)))
    return segments


def _carry(
    walk: Walk,
    node: ir.Node,
    segment: _Segment,
    old: Dimensions,
    result: Dimensions,
    sizes: tuple[int, ...],
) -> None:
    if len(segment.old) == len(segment.new) == 1:
        result[segment.new[0]] = old[segment.old[0]]
        return
    free = [axis for axis in segment.old if (old[axis] >= 0).any()]
    if not free:
        # What was frozen stays so by its own cause.
        for axis in segment.new:
            result[axis] = np.full(sizes[axis], old[segment.old[0]][0])
        return
    pairs = [(p, q) for p in free for q in _by_preference(node, segment.new)]
    p, q = pairs[walk.choose(len(pairs))] if len(pairs) > 1 else pairs[0]
    for axis in segment.old:
        if axis != p:
            walk.freeze(old[axis], _OTHER)
    for axis in segment.new:
        carries = axis == q
        result[axis] = (
            walk.labels.fresh(sizes[axis]) if carries else walk.frozen(sizes[axis], _OTHER)
        )
    before = [(axis, len(old[axis])) for axis in segment.old]
    after = [(axis, sizes[axis]) for axis in segment.new]
    strides = _stride(before, p), _stride(after, q)
    _join(walk, old[p], result[q], strides, prod(size for _, size in before))
    walk.watch(result[q])


def _join(walk: Walk, a: Ints, b: Ints, strides: tuple[int, int], total: int) -> None:
    """Join what lies at the same position; neighbours in both need to be looked at once."""
    flat = np.arange(0, total, gcd(*strides))
    walk.join(a[flat // strides[0] % len(a)], b[flat // strides[1] % len(b)])


def _stride(dimensions: list[tuple[int, int]], axis: int) -> int:
    return prod(size for other, size in dimensions if other > axis)


def _by_preference(node: ir.Node, axes: tuple[int, ...]) -> list[int]:
    """The outer dimension first, a whole head; where positions are shuffled, the inner one.

    A shuffle transposes two parts of a split and merges them again (ShuffleNet, section 3.1): the
    groups stay and the same position goes in each.
    """
    if len(axes) == 2 and axes[1] == axes[0] + 1:
        for reader in node.outputs[0].consumers():
            transposed = reader.op_type == "Transpose"
            order = reader.attributes.get_ints("perm", ()) if transposed else ()
            if (axes[1], axes[0]) in pairwise(order or ()):
                return [axes[1], axes[0]]
    return list(axes)


def expand(walk: Walk, node: ir.Node) -> None:
    """Dimensions pass; those that are stretched from one position get as many as are asked for."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    old, sizes = walk.of(x), walk.shape(y)
    wanted = walk.known_sizes(node.inputs[1], node, 1)
    result: Dimensions = []
    for axis in range(-len(sizes), 0):
        given = wanted is not None and len(wanted) >= -axis
        if len(old) >= -axis and len(old[axis]) == sizes[axis]:
            result.append(old[axis])
        elif given and wanted is not None and wanted[axis].number == sizes[axis]:
            result.append(walk.like(wanted[axis]))
        else:
            result.append(walk.frozen(sizes[axis], "its size is computed"))
    walk.give(y, result)
    if wanted is None:
        for labels in result:
            walk.freeze(labels, "its shape is computed")
        return
    for back, size in enumerate(reversed(wanted.ravel()), 1):
        if not (size.constant and size.number == 1):
            walk.demand(size, y, len(sizes) - back)


def tile(walk: Walk, node: ir.Node) -> None:
    """Labels are repeated as the positions are."""
    x = walk.first(node)
    walk.consume(node.inputs[1])
    result: Dimensions = []
    for labels, size in zip(x, walk.shape(node.outputs[0]), strict=True):
        result.append(np.tile(labels, size // max(len(labels), 1)))
    walk.give(node.outputs[0], result)
