"""Where the channels of a value can be divided for nothing: in constants before it.

    x / s = Mul(z, w / s) = norm(z; γ / s, β / s) = z · (W / s) + b / s = (P · v) / s = P · (v / s)

The way goes backwards from what is to be divided. Products and norms with constant weights end it;
what moves values, scales them, or sums them without mixing the channels carries it on. So a divisor
behind RMSNorm goes into its factor however that is written, one behind the gate of SwiGLU into the
other branch's weight, and one behind attention into the projection of the values, where heads that
read the same of them have to share it.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.scheme import FloatArray
from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, free_name
from compressor.quantization.graph import consumers

Indices = npt.NDArray[np.intp]
"""Which element of the divisor each position has, of size 1 along axes where all are alike; -1
where there is none."""

NORMS = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"})
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "Identity", "Dropout"})
"""f(k·x) = k·f(x) for every k > 0."""
ATTENTION = frozenset({"Attention", "MultiHeadAttention", "GroupQueryAttention"})


@dataclass(frozen=True)
class Edit:
    """A constant that is divided, or multiplied where it divides.

    Attributes:
        node: Who reads it.
        input: At which input.
        indices: Indices of its positions, to be broadcast against it.
        multiplies: Whether it is multiplied instead.
    """

    node: ir.Node
    input: int
    indices: Indices
    multiplies: bool = False


Edits = tuple[Edit, ...] | None
"""Edits that divide a value; None where there is no way."""


@dataclass(frozen=True)
class Route:
    """The edits by which a value is divided.

    Attributes:
        edits: All constants that change.
        ties: Channel → the channel that it has to share its divisor with, itself where none.
    """

    edits: tuple[Edit, ...]
    ties: Indices

    def shared(self, most: FloatArray) -> FloatArray:
        """The largest of those that share a divisor, for each channel."""
        found = np.full(len(most), -np.inf, most.dtype)
        np.maximum.at(found, self.ties, most)
        shared: FloatArray = found[self.ties]
        return shared

    def apply(self, graph: ir.Graph, divisor: FloatArray) -> None:
        """Divide, in place; each node gets constants of its own."""
        factors = np.append(1.0 / divisor.astype(np.float64), 1.0)
        for edit in self.edits:
            old = edit.node.inputs[edit.input]
            tensor = constant(old)
            assert old is not None and tensor is not None, "a way ends at constants"
            factor = factors[edit.indices]
            array = tensor.numpy() * (1.0 / factor if edit.multiplies else factor)
            name = free_name(graph, f"{old.name}_smoothed")
            edit.node.replace_input_with(
                edit.input, add_initializer(graph, name, array.astype(np.float32))
            )


def route_of(value: ir.Value, channels: int) -> Route | None:
    """The way to divide the last axis of a value, all of whose readers are made up for.

    Args:
        value: What is to be divided.
        channels: Channels of its last axis.

    Returns:
        None where there is no such way.
    """
    if value.is_graph_output():
        return None
    walk = _Walk(np.arange(channels))
    edits = walk.back(value, np.arange(channels))
    return None if edits is None else Route(edits, walk.ties)


class _Walk:
    """The walk backwards from one value."""

    def __init__(self, ties: Indices) -> None:
        self.ties = ties

    def back(self, value: ir.Value, indices: Indices) -> Edits:
        """What to divide so that a value is divided; whoever reads it is known to want that."""
        node = value.producer()
        if node is None or node.graph is not value.graph:
            return None
        step = _STEPS.get(node.op_type)
        if node.op_type in NORMS:
            return _norm(node, indices)
        if node.op_type in HOMOGENEOUS and node.domain == "" and value.index() == 0:
            return self.alone(node.inputs[0], indices)
        if node.op_type in ATTENTION:
            return _attention(self, node, value, indices)
        return None if step is None or node.domain != "" else step(self, node, value, indices)

    def alone(self, value: ir.Value | None, indices: Indices) -> Edits:
        """The edits that divide a value that is read once."""
        if value is None or value.is_graph_output() or len(value.uses()) != 1:
            return None  # a value that one node reads twice would be divided twice, too
        return self.back(value, indices)

    def tied(self, indices: Indices, axis: int) -> Indices | None:
        """The indices with an axis reduced to one; None where a part of it has no divisor."""
        first = indices.take([0], axis=axis)
        if ((indices < 0) != (first < 0)).any():
            return None
        same = np.broadcast_to(first, indices.shape)
        for one, other in zip(indices[indices >= 0], same[indices >= 0], strict=True):
            self.ties[self.ties == self.ties[one]] = self.ties[other]
        return first


def _norm(node: ir.Node, indices: Indices) -> Edits:
    """γ and β; the statistics are of what comes before them."""
    last = _last_axis(indices)
    if last is None or any(value.uses() for value in node.outputs[1:]):
        return None
    found = []
    for index in range(1, len(node.inputs)):
        edit = _constant_edit(node, index, last)
        if node.inputs[index] is not None and edit is None:
            return None
        found += [] if edit is None else [edit]
    return tuple(found) or None


def _scaled(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """One factor of a product, or what is divided: a constant before a way that goes on."""
    del value
    sides = (1, 0) if node.op_type == "Mul" else (1,)
    for side in sides:
        edit = _constant_edit(node, side, indices, multiplies=node.op_type == "Div")
        if edit is not None:
            return (edit,)
    for side in (1, 0) if node.op_type == "Mul" else (0,):
        aligned = _aligned(node.inputs[side], indices)
        before = walk.ties.copy()
        found = None if aligned is None else walk.alone(node.inputs[side], aligned)
        if found is not None:
            return found
        walk.ties = before
    return None


def _summed(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """Both terms."""
    del value
    found: list[Edit] = []
    for side in (0, 1):
        edit = _constant_edit(node, side, indices)
        if edit is not None:
            found.append(edit)
            continue
        aligned = _aligned(node.inputs[side], indices)
        more = None if aligned is None else walk.alone(node.inputs[side], aligned)
        if more is None:
            return None
        found += more
    return tuple(found)


def _product(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """The weight and the bias, or what attention takes the mean of."""
    del value
    weight = node.inputs[1]
    tensor = constant(weight)
    if tensor is None:
        is_mean = node.op_type == "MatMul" and (indices.ndim < 2 or indices.shape[-2] == 1)
        return walk.alone(weight, indices) if is_mean else None
    last = _last_axis(indices)
    if last is None or len(tensor.shape) != 2:
        return None
    transposed: int = node.attributes.get_int("transB", 0)
    turned = node.op_type == "Gemm" and transposed == 1
    edits = [_constant_edit(node, 1, last[:, None] if turned else last)]
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        edits.append(_constant_edit(node, 2, last))
    return None if any(edit is None for edit in edits) else tuple(e for e in edits if e is not None)


def _turned(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    rank = None if value.shape is None else len(value.shape)
    if rank is None:
        return None
    perm = list(node.attributes.get_ints("perm", tuple(range(rank))[::-1]))
    return walk.alone(node.inputs[0], _ranked(indices, rank).transpose(np.argsort(perm)))


def _reshaped(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """Sizes of the axes that have divisors have to be known, and are cut or joined as a whole."""
    source = node.inputs[0]
    if source is None or source.shape is None or value.shape is None:
        return None
    found = _regrouped(_ranked(indices, len(value.shape)), _sizes(value), _sizes(source))
    return None if found is None else walk.alone(source, found)


def _expanded(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """Copies along an axis share what they have."""
    source = node.inputs[0]
    if source is None or source.shape is None or value.shape is None:
        return None
    found: Indices | None = _ranked(indices, len(value.shape))
    sizes = [1] * (len(value.shape) - len(source.shape)) + _sizes(source)
    for axis, size in enumerate(sizes):
        if found is not None and found.shape[axis] > 1 and size != found.shape[axis]:
            found = walk.tied(found, axis) if size == 1 else None
    return None if found is None else walk.alone(source, _trimmed(found, len(source.shape)))


def _split(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """The other parts have no divisor."""
    source = node.inputs[0]
    if source is None or source.shape is None or value.shape is None:
        return None
    rank = len(source.shape)
    axis = node.attributes.get_int("axis", 0) % rank
    sizes = [_sizes(output)[axis] if output.shape is not None else None for output in node.outputs]
    if any(size is None for size in sizes):
        return None
    place, known = value.index() or 0, [size or 0 for size in sizes]
    own = _ranked(indices, rank)
    own = np.repeat(own, known[place], axis=axis) if own.shape[axis] == 1 else own
    wide = np.full((*own.shape[:axis], sum(known), *own.shape[axis + 1 :]), -1)
    start = sum(known[:place])
    wide[(slice(None),) * axis + (slice(start, start + known[place]),)] = own
    return walk.alone(source, wide)


def _picked(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """One of several along an axis, as of queries, keys and values in one tensor."""
    source, number = node.inputs[0], node.inputs[1]
    index = constant(number)
    if source is None or source.shape is None or index is None or len(index.shape) > 0:
        return None
    rank, place = len(source.shape), int(index.numpy())
    axis = node.attributes.get_int("axis", 0) % rank
    count = _sizes(source)[axis]
    others = [one for one in consumers(source) if one is not node]
    if count is None or source.is_graph_output() or not all(_is_other(o, node) for o in others):
        return None
    own = np.expand_dims(_ranked(indices, rank - 1), axis)
    wide = np.full((*own.shape[:axis], count, *own.shape[axis + 1 :]), -1)
    wide[(slice(None),) * axis + (place % count,)] = own.squeeze(axis)
    return walk.back(source, wide)


def _attention(walk: _Walk, node: ir.Node, value: ir.Value, indices: Indices) -> Edits:
    """Outputs are means of the values of a head; not where those are kept for later tokens."""
    last, attributes = _last_axis(indices), node.attributes
    kept = [one for one in node.outputs[1:] if one.uses() or one.is_graph_output()]
    heads = attributes.get_int("num_heads", 0) or attributes.get_int("q_num_heads", 0)
    if last is None or value.index() != 0 or kept or not heads or len(node.inputs) < 3:
        return None
    own = attributes.get_int("kv_num_heads", 0) or heads
    if len(last) % heads or heads % own or (source := node.inputs[2]) is None:
        return None
    if source.shape is None or len(source.shape) != 3:
        return None
    found = walk.tied(last.reshape(own, heads // own, -1), 1)
    return None if found is None else walk.alone(source, found.reshape(-1))


_STEPS = {
    **dict.fromkeys(("Mul", "Div"), _scaled),
    "Add": _summed,
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    "Transpose": _turned,
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze", "Flatten"), _reshaped),
    "Expand": _expanded,
    "Split": _split,
    "Gather": _picked,
}


def _is_other(reader: ir.Node, node: ir.Node) -> bool:
    """Whether a node picks another place along the same axis."""
    if reader.op_type != "Gather" or reader.inputs[1] is None or node.inputs[1] is None:
        return False
    here, there = (constant(one.inputs[1]) for one in (node, reader) if one.inputs[1] is not None)
    axes = {one.attributes.get_int("axis", 0) for one in (node, reader)}
    if here is None or there is None or len(axes) > 1 or there.size != 1:
        return False
    return int(here.numpy()) != int(there.numpy().reshape(()))


def _constant_edit(
    node: ir.Node, index: int, indices: Indices, *, multiplies: bool = False
) -> Edit | None:
    """The division of a constant that is as wide as the divisor, or alike along its axes."""
    value = node.inputs[index]
    tensor = constant(value)
    if value is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
        return None
    own = indices.reshape(_without_leading_ones(indices))
    shape = tuple(tensor.shape.numpy())
    try:
        np.broadcast_shapes(shape, own.shape)
    except ValueError:
        return None
    return Edit(node, index, own, multiplies)


def _without_leading_ones(indices: Indices) -> list[int]:
    sizes = list(indices.shape)
    while len(sizes) > 1 and sizes[0] == 1:
        sizes.pop(0)
    return sizes


def _last_axis(indices: Indices) -> Indices | None:
    """The indices of the last axis, where no other has any."""
    return indices.reshape(-1) if indices.size == indices.shape[-1] else None


def _ranked(indices: Indices, rank: int) -> Indices:
    """The indices with axes of size 1 in front, or without some."""
    sizes = _without_leading_ones(indices)
    return indices.reshape([1] * (rank - len(sizes)) + sizes)


def _trimmed(indices: Indices, rank: int) -> Indices:
    return indices.reshape(indices.shape[indices.ndim - rank :])


def _aligned(value: ir.Value | None, indices: Indices) -> Indices | None:
    """The indices for one operand of a broadcast, which needs all axes that have divisors."""
    if value is None or value.shape is None:
        return None
    sizes = _without_leading_ones(indices)
    if len(sizes) > len(value.shape):
        return None
    own = _sizes(value)[len(value.shape) - len(sizes) :]
    fits = all(size in (1, there) for size, there in zip(sizes, own, strict=True))
    return indices.reshape(sizes) if fits else None


def _sizes(value: ir.Value) -> list[int | None]:
    assert value.shape is not None
    return [size if isinstance(size, int) else None for size in value.shape]


def _regrouped(
    indices: Indices, sizes: list[int | None], wanted: list[int | None]
) -> Indices | None:
    """Indices of one shape for another, by matching runs of axes from the end.

    Each run has the same product on both sides; one without divisors may have any.
    """
    found: list[int] = []
    i, j = len(sizes), len(wanted)
    while i > 0:
        if not any(size > 1 for size in indices.shape[:i]):
            break
        start_i, start_j = i, j
        i, j = i - 1, j - 1
        if j < 0:
            return None
        while (left := _known(sizes[i:start_i])) != (right := _known(wanted[j:start_j])):
            if left is None or right is None:
                if start_i - i == 1 and start_j - j == 1 and indices.shape[i] == 1:
                    break  # an open size stays what it is
                return None
            if left < right:
                i -= 1
            else:
                j -= 1
            if i < 0 or j < 0:
                return None
        run = indices.shape[i:start_i]
        if all(size == 1 for size in run):
            found = [1] * (start_j - j) + found
            continue
        whole = tuple(size or 1 for size in sizes[i:start_i])
        if run != whole:
            indices = np.broadcast_to(
                indices, (*indices.shape[:i], *whole, *indices.shape[start_i:])
            )
        found = [size or 1 for size in wanted[j:start_j]] + found
    found = [1] * j + found
    return indices.reshape(found) if prod(found) == indices.size else None


def _known(sizes: list[int | None]) -> int | None:
    return None if any(size is None for size in sizes) else prod(size or 1 for size in sizes)
