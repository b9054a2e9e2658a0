"""GatherElements, ScatterElements, GatherND and TopK: positions are chosen along some axes.

Along these nothing can move, as the indices are computed. Along the others every position is by
itself, so that one that is dropped takes nothing from those that stay.
"""

import numpy as np
import onnx_ir as ir

from compressor.pruning.coupling.dimensions import Walk
from compressor.pruning.coupling.labels import Ints

CHOSEN = "positions are chosen by computed indices"


def gather_elements(walk: Walk, node: ir.Node) -> None:
    """y[i, j, k] = x[i, index[i, j, k], k] for the axis 1: the others are those of the index."""
    x, index = walk.inputs(node)
    walk.consume(node.inputs[1])
    axis = node.attributes.get_int("axis", 0) % len(x)
    walk.freeze(x[axis], CHOSEN)
    walk.freeze(index[axis], CHOSEN)
    walk.give(
        node.outputs[0],
        [index[at] if at == axis else _alike(walk, [x[at], index[at]]) for at in range(len(index))],
    )


def scatter_elements(walk: Walk, node: ir.Node) -> None:
    """The same places of a copy of x are taken from an update of the size of the index."""
    x, index, update = walk.inputs(node)
    walk.consume(node.inputs[1])
    axis = node.attributes.get_int("axis", 0) % len(x)
    for labels in (x[axis], index[axis], update[axis]):
        walk.freeze(labels, CHOSEN)
    walk.give(
        node.outputs[0],
        [
            x[at] if at == axis else _alike(walk, [x[at], index[at], update[at]])
            for at in range(len(x))
        ],
    )


def gather_nd(walk: Walk, node: ir.Node) -> None:
    """An index chooses along the first axes that are none of the batch; those behind pass."""
    x, index = walk.inputs(node)
    walk.consume(node.inputs[1])
    chosen = node.attributes.get_int("batch_dims", 0) + len(index[-1])
    for labels in (*x[:chosen], *index):
        walk.freeze(labels, CHOSEN)
    walk.give(node.outputs[0], [*index[:-1], *x[chosen:]])


def top_k(walk: Walk, node: ir.Node) -> None:
    """The best along an axis, for each position of the others."""
    x = walk.first(node)
    walk.consume(node.inputs[1])
    axis = node.attributes.get_int("axis", -1) % len(x)
    walk.freeze(x[axis], CHOSEN)
    for y in node.outputs:
        if y.name:
            size = walk.shape(y)[axis]
            walk.give(y, [*x[:axis], walk.frozen(size, CHOSEN), *x[axis + 1 :]])


def _alike(walk: Walk, sides: list[Ints]) -> Ints:
    """One dimension of several operands: joined, where none of them is only a part of another."""
    if len({len(labels) for labels in sides}) > 1:
        for labels in sides:
            walk.freeze(labels, "some of its positions are indexed, others are not")
        # An index may be shorter than what it reads; the first is what is written to.
        return min(sides, key=len) if len(sides) == 2 else sides[0]
    for labels in sides[1:]:
        walk.join(sides[0], labels)
    return min(sides, key=lambda labels: int(np.count_nonzero(labels >= 0)))
