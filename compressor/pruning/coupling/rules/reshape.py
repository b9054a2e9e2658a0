"""Reshape and its like: dimensions that are split, merged, repeated and stretched.

The old and the new shape are cut where the products of their leading sizes agree. Within such a
segment dimensions are split into parts and parts merged into dimensions. One part carries the
labels and the others stay whole, so that what is kept is rectangular in both shapes: position f of
a dimension lies at (f // s) mod n of a part of size n and stride s. A merged dimension remembers
its parts, which a later split gives back.
"""

from collections.abc import Iterator
from itertools import pairwise
from math import prod

import numpy as np
import onnx_ir as ir

from compressor.pruning.coupling.dimensions import Dimensions, Walk
from compressor.pruning.coupling.labels import Ints

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
    """The labels of the new axes of a segment: dimensions are split into parts, parts merged."""
    new = [sizes[axis] for axis in axes]
    before, after = _parts([len(labels) for labels in old], new), _parts(new, [*map(len, old)])
    if before is None or after is None:
        return [_stuck(walk, old, size) for size in new]
    order = _by_preference(node, axes) if len(old) == 1 else None
    parts = [
        part
        for labels, into in zip(old, before, strict=True)
        for part in _split(walk, labels, into, order or list(range(len(into))))
    ]
    result = []
    for from_ in after:
        result.append(_merged(walk, parts[: len(from_)]))
        del parts[: len(from_)]
    return result


def _parts(sizes: list[int], others: list[int]) -> list[list[int]] | None:
    """The sizes each cut where the others have a boundary; None where that does not go up."""
    cuts = sorted({prod(s[i:]) for s in (sizes, others) for i in range(len(s) + 1)})
    if any(larger % smaller for smaller, larger in pairwise(cuts)):
        return None
    result = []
    for i in range(len(sizes)):
        low, high = prod(sizes[i + 1 :]), prod(sizes[i:])
        within = [cut for cut in cuts if low <= cut <= high]
        result.append([larger // smaller for smaller, larger in pairwise(within)][::-1])
    return result


def _stuck(walk: Walk, old: Dimensions, size: int) -> Ints:
    for labels in old:
        walk.freeze(labels, "it is cut across by a reshape")
    return walk.frozen(size, "it is cut across by a reshape")


def _split(walk: Walk, labels: Ints, sizes: list[int], order: list[int]) -> Dimensions:
    """One part carries the labels, the first of `order` that is of use; the others stay whole."""
    if len(sizes) == 1:
        return [labels]
    if (labels < 0).all():
        return [np.full(size, labels[0]) for size in sizes]  # by their own cause
    q = order[walk.choose(len(sizes))]
    carrier = walk.labels.fresh(sizes[q])
    flat = np.arange(len(labels))
    walk.join(labels, carrier[flat // prod(sizes[q + 1 :]) % sizes[q]])
    walk.watch(carrier)
    return [carrier if i == q else walk.frozen(n, _OTHER) for i, n in enumerate(sizes)]


def _merged(walk: Walk, parts: Dimensions) -> Ints:
    """Every position takes the label that it has in the part that carries; the others stay."""
    if len(parts) == 1:
        return parts[0]
    total = prod(map(len, parts))
    free = [i for i, labels in enumerate(parts) if (labels >= 0).any()]
    if not free:
        frozen = np.full(total, parts[0][0])
        walk.remember(frozen, parts)
        return frozen
    p = free[walk.choose(len(free))] if len(free) > 1 else free[0]
    for i, labels in enumerate(parts):
        if i != p:
            walk.freeze(labels, _OTHER)
    stride = prod(map(len, parts[p + 1 :]))
    merged = parts[p][np.arange(total) // stride % len(parts[p])]
    walk.remember(merged, parts)
    if len(free) > 1:
        walk.watch(merged)
    return merged


def _by_preference(node: ir.Node, axes: tuple[int, ...]) -> list[int]:
    """The outer part first, a whole head; where positions are shuffled, the inner one.

    A shuffle transposes two parts of a split and merges them again (ShuffleNet, section 3.1): the
    groups stay and the same position goes in each.
    """
    if len(axes) == 2 and axes[1] == axes[0] + 1:
        for reader in node.outputs[0].consumers():
            transposed = reader.op_type == "Transpose"
            order = reader.attributes.get_ints("perm", ()) if transposed else ()
            if (axes[1], axes[0]) in pairwise(order or ()):
                return [1, 0]
    return list(range(len(axes)))


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
