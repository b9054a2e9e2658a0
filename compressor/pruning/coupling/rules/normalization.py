"""Norms, softmax and reductions: what statistics are taken over has to stay."""

import onnx_ir as ir

from compressor.pruning.coupling.cutting import Cutting
from compressor.pruning.coupling.dimensions import Dimensions, Walk, broadcast
from compressor.pruning.coupling.labels import Ints

_FLATTENING = 13
"""First opset whose Softmax takes one axis, and not all from that axis on."""


def batch_norm(walk: Walk, node: ir.Node) -> None:
    """Scale, bias, mean and variance belong to channels."""
    x, *parameters = walk.inputs(node)
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        walk.freeze_all(node, "a BatchNormalization that is being trained")
        return
    channels = x[1] if len(x) > 1 else x[0]
    for parameter in parameters:
        walk.join(channels, parameter[0])
    walk.give(node.outputs[0], x)


def instance_norm(walk: Walk, node: ir.Node) -> None:
    """Statistics are over space, for each channel by itself."""
    x, scale, bias = walk.inputs(node)
    walk.join(x[1], scale[0])
    walk.join(x[1], bias[0])
    for axis in x[2:]:
        walk.freeze(axis, "it is normalized over")
    walk.give(node.outputs[0], x)


def group_norm(walk: Walk, node: ir.Node) -> None:
    """Statistics are over a group, so that whole groups go: those of the others stay as they are.

    Scale and bias belong to channels, in opset 18 to groups.
    """
    x, *parameters = walk.inputs(node)
    groups = node.attributes["num_groups"].as_int()
    channels = x[1].reshape(groups, -1)
    walk.join(channels[:, :1], channels)
    for (parameter,) in parameters:
        walk.join(channels[:, 0] if len(parameter) == groups else x[1], parameter)
    for axis in x[2:]:
        walk.freeze(axis, "it is normalized over")
    walk.give(node.outputs[0], x)


def regroup_norm(cutting: Cutting, node: ir.Node) -> None:
    """Groups keep their size."""
    groups = node.attributes["num_groups"].as_int()
    size = len(cutting.kept(node.inputs[0], 1)) // groups
    left = cutting.count(node.inputs[0], 1) // size
    node.attributes["num_groups"] = ir.AttrInt64("num_groups", left)


def layer_norm(walk: Walk, node: ir.Node) -> None:
    """LayerNormalization and RMSNormalization: all dimensions from an axis on."""
    x, *parameters = walk.inputs(node)
    axis = node.attributes.get_int("axis", -1) % len(x)
    for labels in x[axis:]:
        walk.freeze(labels, "it is normalized over")
    normalized = broadcast(walk, [x, *parameters])
    walk.give(node.outputs[0], normalized)
    for value in node.outputs[1:]:
        walk.give(value, [*x[:axis], *(walk.fresh(1) for _ in x[axis:])])


def normalized_axis(walk: Walk, node: ir.Node) -> None:
    """Softmax and its like: every element depends on all others along the axis."""
    x = walk.first(node)
    flattening = node.op_type != "LpNormalization" and walk.opset < _FLATTENING
    axis = node.attributes.get_int("axis", 1 if flattening else -1) % len(x)
    for labels in x[axis:] if flattening else [x[axis]]:
        walk.freeze(labels, "it is normalized over")
    walk.give(node.outputs[0], x)


def normalized_channels(walk: Walk, node: ir.Node) -> None:
    """LRN normalizes over neighbouring channels, MeanVarianceNormalization over given axes."""
    x = walk.first(node)
    axes = [1] if node.op_type == "LRN" else node.attributes.get_ints("axes", (0, 2, 3))
    for axis in axes or ():
        walk.freeze(x[axis], "it is normalized over")
    walk.give(node.outputs[0], x)


def running(walk: Walk, node: ir.Node) -> None:
    """CumSum: every element depends on those before it."""
    x = walk.first(node)
    axes = walk.numbers(node, "axis", 1)
    for axis in axes if axes is not None else range(len(x)):
        walk.freeze(x[axis], "it is summed up")
    walk.give(node.outputs[0], x)


def triangle(walk: Walk, node: ir.Node) -> None:
    """Trilu: the last two dimensions are places in a matrix."""
    x = walk.first(node)
    for labels in x[-2:]:
        walk.freeze(labels, "a triangle is cut out of it")
    walk.give(node.outputs[0], x)


def reduction(walk: Walk, node: ir.Node) -> None:
    """A sum may lose addends; a mean or a maximum would be another."""
    x = walk.first(node)
    y = node.outputs[0]
    axes = walk.numbers(node, "axes", 1)
    if len(node.inputs) > 1 and node.inputs[1] is not None and axes is None:
        walk.freeze_all(node, "the axes of the reduction are computed")
        return
    if not axes:
        skip = node.attributes.get_int("noop_with_empty_axes", 0)
        axes = [] if skip else list(range(len(x)))
    keep = node.attributes.get_int("keepdims", 1)
    reduced = {axis % len(x) for axis in axes}
    if node.op_type != "ReduceSum":
        _freeze(walk, node, x, reduced)
    walk.give(y, _reduced(walk, x, reduced, bool(keep)))


def arg(walk: Walk, node: ir.Node) -> None:
    """ArgMax and ArgMin: an index counts all positions."""
    x = walk.first(node)
    axis = {node.attributes.get_int("axis", 0) % len(x)}
    _freeze(walk, node, x, axis)
    keep = node.attributes.get_int("keepdims", 1)
    walk.give(node.outputs[0], _reduced(walk, x, axis, bool(keep)))


def _freeze(walk: Walk, node: ir.Node, x: Dimensions, axes: set[int]) -> None:
    verb = "averaged" if node.op_type == "ReduceMean" else "reduced"
    for axis in axes:
        walk.freeze(x[axis], f"it is {verb} over")


def _reduced(walk: Walk, x: Dimensions, axes: set[int], keep: bool) -> Dimensions:
    result: list[Ints] = []
    for axis, labels in enumerate(x):
        if axis not in axes:
            result.append(labels)
        elif keep:
            result.append(walk.fresh(1))
    return result
