"""Concat, Split, Slice, Gather, Pad and Transpose: label arrays are joined up, cut and picked."""

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import array_if_stored
from compressor.pruning.coupling.cutting import Cutting
from compressor.pruning.coupling.dimensions import Dimensions, Walk
from compressor.pruning.coupling.labels import Ints


def transpose(walk: Walk, node: ir.Node) -> None:
    """Dimensions are permuted."""
    x = walk.first(node)
    order = node.attributes.get_ints("perm", None) or range(len(x))[::-1]
    walk.give(node.outputs[0], [x[axis] for axis in order])


def concat(walk: Walk, node: ir.Node) -> None:
    """Along the axis one operand after the other; other dimensions are joined."""
    operands = walk.inputs(node)
    axis = node.attributes["axis"].as_int() % len(operands[0])
    result = list(operands[0])
    for other in operands[1:]:
        for i, labels in enumerate(other):
            if i != axis:
                walk.join(result[i], labels)
                result[i] = min(result[i], labels, key=_free)
    result[axis] = np.concatenate([operand[axis] for operand in operands])
    walk.give(node.outputs[0], result)


def _free(labels: Ints) -> int:
    return int((labels >= 0).sum())


def split(walk: Walk, node: ir.Node) -> None:
    """Each output takes its part of the labels."""
    x = walk.first(node)
    axis = node.attributes.get_int("axis", 0) % len(x)
    sizes = walk.numbers(node, "split", 1)
    if sizes is None and len(node.inputs) > 1:
        walk.freeze_all(node, "the sizes of the parts are computed")
        return
    start = 0
    for value, size in zip(node.outputs, sizes or _even(node, len(x[axis])), strict=True):
        part = x[axis][start : start + size]
        start += size
        _single(walk, x[axis], part)
        walk.give(value, [*x[:axis], part, *x[axis + 1 :]])


def _single(walk: Walk, whole: Ints, part: Ints) -> None:
    """A part of one position would be empty without it: query, key and value of one dimension."""
    if len(part) == 1 < len(whole):
        walk.freeze(part, "a single position is picked")


def _even(node: ir.Node, size: int) -> list[int]:
    """The parts where no sizes are given: equal, the last one smaller."""
    parts = len(node.outputs)
    each = -(-size // parts)
    return [each] * (parts - 1) + [size - each * (parts - 1)]


def resplit(cutting: Cutting, node: ir.Node) -> None:
    """The sizes of the parts are counted anew, and written down where they were left out."""
    x = node.inputs[0]
    assert x is not None
    rank = len(cutting.shape(x))
    axis = node.attributes.get_int("axis", 0) % rank
    kept = cutting.kept(x, axis)
    given = array_if_stored(node.inputs[1]) if len(node.inputs) > 1 else None
    listed = node.attributes.get_ints("split", None)
    old = list(listed or (_even(node, kept.size) if given is None else given.tolist()))
    new = [int(part.sum()) for part in np.split(kept, np.cumsum(old)[:-1])]
    if new == old:
        return
    if listed is not None:
        node.attributes["split"] = ir.AttrInt64s("split", new)
        return
    node.attributes.pop("num_outputs", None)
    cutting.set_input(node, 1, new)


def slice_(walk: Walk, node: ir.Node) -> None:
    """Labels are sliced; a step other than 1 counts positions and freezes what it steps over."""
    x = list(walk.first(node))
    bounds = _bounds(walk, node, len(x))
    sizes = walk.shape(node.outputs[0])
    if bounds is None:
        _unbounded(walk, node, x, sizes)
        return
    for axis, start, end, step in bounds:
        if step != 1:
            walk.freeze(x[axis], "a slice steps over it")
        size = len(x[axis])
        part = x[axis][_clipped(start, size, step) : _stop(end, size, step) : step]
        _single(walk, x[axis], part)
        x[axis] = part
    walk.give(node.outputs[0], x)


def _unbounded(walk: Walk, node: ir.Node, x: Dimensions, sizes: tuple[int, ...]) -> None:
    """Bounds are computed: what they may cut stays, which is everything if axes are not known."""
    axes = walk.numbers(node, "axes", 3)
    for value in node.inputs[1:3]:
        walk.consume(value)
    cut = range(len(x)) if axes is None else [axis % len(x) for axis in axes]
    result = list(x)
    for axis in cut:
        walk.freeze(x[axis], "it is sliced at computed bounds")
        result[axis] = walk.frozen(sizes[axis], "it is sliced at computed bounds")
    walk.give(node.outputs[0], result)


def _bounds(walk: Walk, node: ir.Node, rank: int) -> list[tuple[int, int, int, int]] | None:
    """(axis, start, end, step) of each sliced axis; None where they are computed."""
    starts, ends = walk.numbers(node, "starts", 1), walk.numbers(node, "ends", 2)
    if starts is None or ends is None:
        return None
    axes, steps = walk.numbers(node, "axes", 3), walk.numbers(node, "steps", 4)
    axes = [axis % rank for axis in (axes or range(len(starts)))]
    return list(zip(axes, starts, ends, steps or [1] * len(axes), strict=True))


def _clipped(start: int, size: int, step: int) -> int:
    start = start + size if start < 0 else start
    return min(max(start, 0), size - 1 if step < 0 else size)


def _stop(end: int, size: int, step: int) -> int | None:
    """A slice's end as Python has it: a negative number counts from the end, none is `before 0`."""
    end = end + size if end < 0 else end
    if step < 0 and end < 0:
        return None
    return min(max(end, 0), size)


def reslice(cutting: Cutting, node: ir.Node) -> None:
    """A bound becomes the number of kept positions before it."""
    x = node.inputs[0]
    assert x is not None
    rank = len(cutting.shape(x))
    old = [_integers(node, name, i) for i, name in enumerate(("starts", "ends", "axes"), 1)]
    starts, ends, axes = old[0], old[1], old[2]
    if starts is None or ends is None:
        return  # frozen
    for i, axis in enumerate(axes or range(len(starts))):
        kept = cutting.kept(x, axis % rank)
        if not kept.all():
            starts[i] = int(kept[: _clipped(starts[i], kept.size, 1)].sum())
            ends[i] = int(kept[: _stop(ends[i], kept.size, 1)].sum())
    if "starts" in node.attributes:
        node.attributes["starts"] = ir.AttrInt64s("starts", starts)
        node.attributes["ends"] = ir.AttrInt64s("ends", ends)
        return
    cutting.set_input(node, 1, starts)
    cutting.set_input(node, 2, ends)


def _integers(node: ir.Node, attribute: str, index: int) -> list[int] | None:
    if attribute in node.attributes:
        return list(node.attributes[attribute].as_ints())
    array = array_if_stored(node.inputs[index]) if index < len(node.inputs) else None
    return None if array is None else [int(n) for n in array.ravel()]


def gather(walk: Walk, node: ir.Node) -> None:
    """Constant indices pick labels; computed ones freeze what they may pick."""
    data, indices = node.inputs
    assert data is not None
    assert indices is not None
    x = walk.of(data)
    axis = node.attributes.get_int("axis", 0) % len(x)
    picked = array_if_stored(indices)
    if picked is None:
        walk.consume(indices)
        walk.freeze(x[axis], "positions are chosen by computed indices")
        chosen = walk.of(indices)
    elif picked.ndim == 1:
        chosen = [x[axis][picked.astype(np.int64)]]
    else:
        walk.freeze(x[axis][picked.astype(np.int64).ravel()], "a single position is picked")
        chosen = [walk.frozen(n, "positions are chosen by indices") for n in picked.shape]
    walk.give(node.outputs[0], [*x[:axis], *chosen, *x[axis + 1 :]])


def regather(cutting: Cutting, node: ir.Node) -> None:
    """An index becomes the number of kept positions before it; those of dropped ones go."""
    picked = array_if_stored(node.inputs[1])
    if picked is None:
        return
    kept = cutting.kept(node.inputs[0], node.attributes.get_int("axis", 0))
    if kept.all():
        return
    flat = picked.astype(np.int64) % kept.size
    left = flat[kept[flat]] if picked.ndim == 1 else flat
    cutting.set_input(node, 1, np.cumsum(kept)[left] - 1)


def pad(walk: Walk, node: ir.Node) -> None:
    """Padded positions get labels of their own: there are as many as what they meet needs."""
    x = walk.first(node)
    pads = _all_pads(walk, node, len(x))
    if pads is None:
        walk.freeze_all(node, "how much is padded is computed")
        return
    constant_mode = node.attributes.get_string("mode", "constant") == "constant"
    result: Dimensions = []
    for axis, labels in enumerate(x):
        before, after = pads[axis], pads[axis + len(x)]
        if (before or after) and (not constant_mode or min(before, after) < 0):
            walk.freeze(labels, "it is padded")
            size = walk.shape(node.outputs[0])[axis]
            result.append(walk.frozen(size, "it is padded"))
        elif before or after:
            parts = [walk.labels.fresh(before), labels, walk.labels.fresh(after)]
            result.append(np.concatenate(parts))
        else:
            result.append(labels)
    walk.give(node.outputs[0], result)


def _all_pads(walk: Walk, node: ir.Node, rank: int) -> list[int] | None:
    """Before, then after, every axis; axes that are not named are not padded."""
    pads = walk.numbers(node, "pads", 1)
    axes = walk.numbers(node, "axes", 3) if len(node.inputs) > 3 else None
    if pads is None or (axes is None and len(pads) != 2 * rank):
        return None
    if axes is None:
        return pads
    result = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        result[axis % rank] = pads[i]
        result[axis % rank + rank] = pads[i + len(axes)]
    return result


def repad(cutting: Cutting, node: ir.Node) -> None:
    """Counted anew from the kept positions of the output."""
    y = node.outputs[0]
    rank = len(cutting.shape(y))
    pads = _integers(node, "pads", 1)
    if pads is None or all(cutting.kept(y, axis).all() for axis in range(rank)):
        return
    axes = _integers(node, "axes", 3) or list(range(rank))
    for i, axis in enumerate(axes):
        kept = cutting.kept(y, axis)
        after = i + len(axes)
        if kept.all() or min(pads[i], pads[after]) < 0:
            continue
        pads[i], pads[after] = (
            int(kept[: pads[i]].sum()),
            int(kept[kept.size - pads[after] :].sum()),
        )
    if "pads" in node.attributes:
        node.attributes["pads"] = ir.AttrInt64s("pads", pads)
        return
    cutting.set_input(node, 1, pads)
