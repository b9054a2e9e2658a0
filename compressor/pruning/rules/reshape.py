"""Reshape and its like: dimensions that are split, merged, repeated and stretched.

The old and the new shape are cut where the products of their leading sizes agree. Each segment
has as many positions before as after. One dimension of each side carries its labels and the
others stay whole, so that what is kept is rectangular in both shapes: position f of the segment
lies at (f // s) mod n of a dimension of size n and stride s.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import gcd, prod

import numpy as np
import onnx_ir as ir

from compressor.pruning.dimensions import Dimensions, Walk
from compressor.pruning.labels import Ints

_OTHER = "another dimension that it is split from or merged with is the one that shrinks"


def reshape(walk: Walk, node: ir.Node) -> None:
    """Reshape, Flatten, Squeeze and Unsqueeze: the same positions in other dimensions."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    old, sizes = walk.of(x), walk.shape(y)
    if 0 in (*walk.shape(x), *sizes):
        walk.freeze_all(node, "an empty tensor is reshaped")
        return
    result: Dimensions = [walk.fresh(1) for _ in sizes]
    for before, axes in _segments([p for labels in old for p in walk.parts(labels)], sizes):
        for axis, labels in zip(axes, _carried(walk, node, before, axes, sizes), strict=True):
            result[axis] = labels
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


def _segments(
    old: Dimensions, new: tuple[int, ...]
) -> Iterator[tuple[Dimensions, tuple[int, ...]]]:
    """Dimensions before and axes after of the finest cuts; single positions are left out."""
    before = iter([labels for labels in old if len(labels) > 1])
    after = iter([axis for axis, size in enumerate(new) if size > 1])
    for labels in before:
        parts, axes = [labels], [next(after)]
        left, right = len(labels), new[axes[0]]
        while left != right:
            if left < right:
                parts.append(next(before))
                left *= len(parts[-1])
            else:
                axes.append(next(after))
                right *= new[axes[-1]]
        yield parts, tuple(axes)


def _carried(
    walk: Walk, node: ir.Node, old: Dimensions, axes: tuple[int, ...], sizes: tuple[int, ...]
) -> Dimensions:
    """The labels of the new axes of a segment."""
    if len(old) == len(axes) == 1:
        return old
    free = [i for i, labels in enumerate(old) if (labels >= 0).any()]
    if not free:
        # What was frozen stays so by its own cause.
        return [np.full(sizes[axis], old[0][0]) for axis in axes]
    pairs = [(p, q) for p in free for q in _by_preference(node, axes)]
    p, q = pairs[walk.choose(len(pairs))] if len(pairs) > 1 else pairs[0]
    for i, labels in enumerate(old):
        if i != p:
            walk.freeze(labels, _OTHER)
    total = prod(map(len, old))
    stride = prod(len(labels) for labels in old[p + 1 :])
    if len(axes) == 1:
        merged = old[p][np.arange(total) // stride % len(old[p])]
        walk.remember(merged, old)
        walk.watch(merged)
        return [merged]
    result = [walk.frozen(sizes[axis], _OTHER) for axis in axes]
    place = axes.index(q)
    result[place] = walk.labels.fresh(sizes[q])
    strides = stride, prod(sizes[axis] for axis in axes[place + 1 :])
    _join(walk, old[p], result[place], strides, total)
    walk.watch(result[place])
    return result


def _join(walk: Walk, a: Ints, b: Ints, strides: tuple[int, int], total: int) -> None:
    """Join what lies at the same position; neighbours in both need to be looked at once."""
    flat = np.arange(0, total, gcd(*strides))
    walk.join(a[flat // strides[0] % len(a)], b[flat // strides[1] % len(b)])


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
