"""Convolutions, transposed ones, and pooling: channels on axis 1, positions in space behind."""

import onnx_ir as ir

from compressor.pruning.coupling.cutting import Cutting
from compressor.pruning.coupling.dimensions import Dimensions, Walk
from compressor.pruning.coupling.labels import Ints

_KERNEL = "the kernel of a convolution"
_WHOLE = "whole groups of the convolution are removed"


def conv(walk: Walk, node: ir.Node) -> None:
    """W is (O, I / g, kernel): an output channel is a row of W and an element of the bias."""
    x, w = walk.inputs(node)[:2]
    out, inner = w[0], w[1]
    _grouped(walk, node, x[1], inner, out)
    _finish(walk, node, x, w, out)


def conv_transpose(walk: Walk, node: ir.Node) -> None:
    """W is (I, O / g, kernel): the roles of its first two dimensions are swapped."""
    x, w = walk.inputs(node)[:2]
    walk.join(x[1], w[0])
    groups = node.attributes.get_int("group", 1)
    if groups == 1:
        out = w[1]
    else:
        out = walk.fresh(groups * len(w[1]))
        _grouped(walk, node, out, w[1], w[0])
    _finish(walk, node, x, w, out)


def _grouped(walk: Walk, node: ir.Node, wide: Ints, inner: Ints, outer: Ints) -> None:
    """Couple the side whose channels W spreads over groups with W's two dimensions.

    With g groups, either a group goes as a whole, on both sides, or the same positions go in
    every group; what there is more of is tried first.
    """
    groups = node.attributes.get_int("group", 1)
    if groups == 1:
        walk.join(wide, inner)
        return
    rows, columns = wide.reshape(groups, -1), outer.reshape(groups, -1)
    positions = min(rows.shape[1], columns.shape[1])
    ways = ["group"] if len(inner) == 1 else ["group", "position"]
    if positions > groups:
        ways.reverse()
    if ways[walk.choose(len(ways))] == "group":
        walk.join(rows[:, :1], rows)
        walk.join(rows[:, :1], columns)
        walk.freeze(inner, _WHOLE)
        walk.watch(wide)
    else:
        walk.join(inner, rows)
        walk.join(columns[:1], columns)
        walk.watch(wide)
        walk.watch(outer)


def _finish(walk: Walk, node: ir.Node, x: Dimensions, w: Dimensions, out: Ints) -> None:
    for axis in w[2:]:
        walk.freeze(axis, _KERNEL)
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        walk.join(walk.of(node.inputs[2])[0], out)
    sizes = walk.shape(node.outputs[0])[2:]
    if _pointwise(walk, node):
        space = x[2:]
    else:
        for axis in x[2:]:
            walk.freeze(axis, "a convolution slides over it")
        space = [walk.space(size) for size in sizes]
    walk.give(node.outputs[0], [x[0], out, *space])


def _pointwise(walk: Walk, node: ir.Node) -> bool:
    """Whether every output position reads exactly the input position of the same place."""
    weight = node.inputs[1]
    assert weight is not None
    pads, strides = node.attributes.get_ints("pads", ()), node.attributes.get_ints("strides", ())
    ones = set(walk.shape(weight)[2:]) | set(strides or ()) | {1}
    automatic = node.attributes.get_string("auto_pad", "NOTSET")
    return ones == {1} and not any(pads or ()) and automatic in ("NOTSET", "VALID")


def regroup(cutting: Cutting, node: ir.Node) -> None:
    """The number of groups is the channels of the spread side over those of one group in W."""
    if node.attributes.get_int("group", 1) == 1:
        return
    spread = node.inputs[0] if node.op_type == "Conv" else node.outputs[0]
    groups = cutting.count(spread, 1) // cutting.count(node.inputs[1], 1)
    node.attributes["group"] = ir.AttrInt64("group", groups)


_POOLED = {
    "GlobalAveragePool": "it is averaged over",
    "GlobalLpPool": "it is reduced over",
    "GlobalMaxPool": "it is reduced over",
}


def pool(walk: Walk, node: ir.Node) -> None:
    """Channels pass, each by itself; what is pooled may be features, in a norm's mean."""
    x = walk.first(node)
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        walk.freeze_all(node, "indices of the pooled positions count all channels")
        return
    for axis in x[2:]:
        walk.freeze(axis, _POOLED.get(node.op_type, "a pooling window slides over it"))
    for value in node.outputs:
        if value.name:
            walk.give(value, [*x[:2], *(walk.space(n) for n in walk.shape(value)[2:])])


def sample(walk: Walk, node: ir.Node) -> None:
    """GridSample: the grid chooses places, the same for all channels."""
    x, grid = walk.inputs(node)[:2]
    walk.join(x[0], grid[0])
    for axis in (*x[2:], *grid[1:]):
        walk.freeze(axis, "places are chosen from it")
    walk.give(node.outputs[0], [*x[:2], *(walk.space(n) for n in walk.shape(node.outputs[0])[2:])])


def resize(walk: Walk, node: ir.Node) -> None:
    """Dimensions that keep their size pass; the others are positions in space."""
    x, y = node.inputs[0], node.outputs[0]
    assert x is not None
    if node.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize":
        walk.freeze_all(node, "a region is cropped and resized")
        return
    result: Dimensions = []
    for labels, size in zip(walk.of(x), walk.shape(y), strict=True):
        if len(labels) == size:
            result.append(labels)
        else:
            walk.freeze(labels, "it is resized")
            result.append(walk.space(size))
    walk.give(y, result)
    wanted = node.inputs[3] if len(node.inputs) > 3 else None
    sizes = walk.known_sizes(wanted, node, 3)
    axes = node.attributes.get_ints("axes", None) or range(len(result))
    if sizes is not None:
        for axis, size in zip(axes, sizes.ravel(), strict=True):
            walk.demand(size, y, axis % len(result))
    elif wanted is not None:
        for labels in result:
            walk.freeze(labels, "its size is computed")


def depth_to_space(walk: Walk, node: ir.Node) -> None:
    """A channel of the output is made of the b² channels that become its block."""
    x = walk.first(node)
    block = node.attributes.get_int("blocksize", 1) ** 2
    if node.attributes.get_string("mode", "DCR") == "CRD":
        blocks = x[1].reshape(-1, block).T
    else:
        blocks = x[1].reshape(block, -1)
    walk.join(blocks[:1], blocks)
    _spread(walk, node, x, blocks[0])


def space_to_depth(walk: Walk, node: ir.Node) -> None:
    """A channel of the input becomes b² channels, one for each place in a block."""
    x = walk.first(node)
    block = node.attributes.get_int("blocksize", 1) ** 2
    _spread(walk, node, x, x[1][None].repeat(block, axis=0).ravel())


def _spread(walk: Walk, node: ir.Node, x: Dimensions, channels: Ints) -> None:
    for axis in x[2:]:
        walk.freeze(axis, "it is exchanged with channels")
    sizes = walk.shape(node.outputs[0])[2:]
    walk.give(node.outputs[0], [x[0], channels, *(walk.space(size) for size in sizes)])
