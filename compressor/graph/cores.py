"""Cores of attention in a graph: softmax(c · Q Kᵀ + M) V, and where Q, K and V lie as rows.

(Vaswani et al. 2017, arXiv 1706.03762, equation 1.) Exporters write the core as two MatMuls of
[batch, heads, tokens, width of a head]. One operator reads [batch, tokens, heads · width] instead,
as projections write it. So from each of Q, K and V a walk leads back over the Transpose and the
Reshape that made the heads, and over the Slice of one that took it out of Q, K and V in one tensor.

M may also be written as Where, which puts a number such as -1e9 in place of what is hidden. Beside
that number a score is nothing, added or replaced: it is lost in rounding.

Left alone is what does more than that: numbers put in behind the softmax, factors behind the mask,
softmax over another axis. Of grouped queries the copied keys and values are read as they are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.matching import (
    integers,
    is_float,
    is_inner,
    number,
    only_reader,
    operands,
    producer,
    sizes,
)

HEADS_LAST = (0, 2, 1, 3)
PACKED = (2, 0, 3, 1, 4)
TURNED = (0, 2, 3, 1)
"""Of keys: HEADS_LAST and then the last two axes exchanged, which folding makes one."""
HIDING = -1e9
"""Numbers up to that hide a score: neighbours are 64 apart there."""


@dataclass(frozen=True)
class Source:
    """Where queries, keys or values lie as rows.

    Attributes:
        value: [batch, tokens, parts · heads · width].
        part: Which of the parts; None where there is but one.
    """

    value: ir.Value
    part: int | None = None


@dataclass(frozen=True)
class Mask:
    """What is hidden from a softmax.

    Attributes:
        value: Numbers to add; or bool, where a number up to `HIDING` is put in.
        hides: The bool that it is put in for; None where numbers are added.
    """

    value: ir.Value
    hides: bool | None = None


@dataclass(frozen=True)
class Core:
    """The core of an attention.

    Attributes:
        nodes: What computes it, in order.
        scale: c.
        heads: Of queries, keys and values alike.
        width: Of a head of queries and keys.
        mask: M, which broadcasts to [batch, heads, queries, keys]; None where there is none.
        q: [batch, heads, queries, width].
        k: [batch, heads, keys, width], before it is transposed; [batch, keys, heads, width] where
            one Transpose makes the heads and exchanges the axes.
        k_apart: Whether k is the former.
        v: [batch, heads, keys, width of values].
        rows: Where those lie as rows; None where one of them does not.
        y: [batch, queries, heads · width of values], or with the heads apart.
        joined: Whether y has the heads joined.
    """

    nodes: tuple[ir.Node, ...]
    scale: float
    heads: int
    width: int
    mask: Mask | None
    q: ir.Value
    k: ir.Value
    v: ir.Value
    rows: tuple[Source, Source, Source] | None
    y: ir.Value
    joined: bool
    k_apart: bool = True

    @property
    def name(self) -> str:
        """Of the softmax."""
        return next(node.name or "" for node in self.nodes if node.op_type == "Softmax")

    @property
    def operator(self) -> str:
        """What it is, for people."""
        return "attention"

    @property
    def x(self) -> ir.Value:
        """What it reads first."""
        return self.reads[0]

    @property
    def reads(self) -> tuple[ir.Value, ...]:
        """All that it reads, each once."""
        values = [self.q, self.k, self.v]
        if self.rows is not None:
            values = [source.value for source in self.rows]
        return tuple(dict.fromkeys([*values, *([] if self.mask is None else [self.mask.value])]))


def cores(model: ir.Model) -> Iterator[Core]:
    """Those of the main graph."""
    position = {node: index for index, node in enumerate(model.graph)}
    for node in model.graph:
        found = _core(node) if node.op_type == "Softmax" and node.domain == "" else None
        if found is not None:
            yield _ordered(found, position)


def _ordered(core: Core, position: dict[ir.Node, int]) -> Core:
    nodes = tuple(sorted(core.nodes, key=position.__getitem__))
    return Core(**{**core.__dict__, "nodes": nodes})


def _core(softmax: ir.Node) -> Core | None:
    scores, mixed = softmax.inputs[0], only_reader(softmax.outputs[0], "MatMul")
    if scores is None or mixed is None or mixed.inputs[0] is not softmax.outputs[0]:
        return None
    axis, shape = softmax.attributes.get_int("axis", -1), sizes(scores)
    if shape is None or len(shape) != 4 or axis not in (-1, 3) or not is_float(scores):
        return None
    found = _scores(scores)
    v = mixed.inputs[1]
    if found is None or v is None:
        return None
    nodes, scale, mask, q, k, k_apart = found
    q_sizes, v_sizes = sizes(q), sizes(v)
    if q_sizes is None or v_sizes is None or len(q_sizes) != 4 or len(v_sizes) != 4:
        return None
    heads, width, k_sizes = q_sizes[1], q_sizes[3], sizes(k)
    if k_sizes is None or len(k_sizes) != 4 or k_sizes[3] != width:
        return None
    if k_sizes[1 if k_apart else 2] != heads:
        return None
    if heads is None or width is None or v_sizes[1] != heads or v_sizes[3] is None:
        return None
    a, c = source_of(q), source_of(v)
    b = source_of(k) if k_apart else _cut_to_heads(k, [heads, width], None)
    rows = (a, b, c) if a is not None and b is not None and c is not None else None
    behind, y = joined(mixed.outputs[0]) if rows else ((), mixed.outputs[0])
    whole = (*nodes, softmax, mixed, *behind)
    return Core(
        whole, scale, heads, width, mask, q, k, v, rows, y, joined=bool(behind), k_apart=k_apart
    )


def _scores(
    scores: ir.Value,
) -> tuple[list[ir.Node], float, Mask | None, ir.Value, ir.Value, bool] | None:
    """What computes c · Q Kᵀ + M: its nodes, c, M, Q and K, and whether K has its heads apart."""
    nodes: list[ir.Node] = []
    mask, product = None, scores
    masking = scores.producer()
    if masking is not None and masking.op_type in ("Add", "Where") and is_inner(scores):
        split = _masked(masking)
        if split is None:
            return None
        product, mask = split
        nodes.append(masking)
    product, scale, ahead = _unscaled(product)
    matmul = producer(product, "MatMul")
    if matmul is None or not is_inner(product):
        return None
    nodes += [*ahead, matmul]
    sides = []
    for value in matmul.inputs:
        if value is None:
            return None
        plain, factor, scaling = _unscaled(value)
        scale *= factor
        nodes += scaling
        sides.append(plain)
    q, transposed = sides
    found = _untransposed(transposed)
    if found is None:
        return None
    k, turning, factor, apart = found
    return [*nodes, *turning], scale * factor, mask, q, k, apart


def _masked(node: ir.Node) -> tuple[ir.Value, Mask] | None:
    """The product, which a MatMul writes, and what hides scores of it."""
    if node.domain != "":
        return None
    first, *rest = node.inputs
    if node.op_type == "Add":
        found = _beside(node.inputs)
        return None if found is None or not is_float(found[1]) else (found[0], Mask(found[1]))
    if first is None or first.dtype != ir.DataType.BOOL:
        return None
    for place, (put, product) in enumerate((rest, rest[::-1])):
        hiding, found = number(put), _beside((product, first))
        if hiding is not None and hiding <= HIDING and found is not None:
            return found[0], Mask(first, place == 0)
    return None


def _beside(inputs: Sequence[ir.Value | None]) -> tuple[ir.Value, ir.Value] | None:
    """Of two values the one that a MatMul writes, and the other, which may be a mask of it."""
    for product, other in (inputs, inputs[::-1]):
        if product is None or other is None:
            return None
        if producer(_unscaled(product)[0], "MatMul") is not None and is_inner(product):
            rank = sizes(other)
            return (product, other) if rank is not None and 2 <= len(rank) <= 4 else None
    return None


def _unscaled(value: ir.Value) -> tuple[ir.Value, float, list[ir.Node]]:
    """The value in front of a factor, the factor, and the node that multiplies or divides."""
    node = value.producer()
    if node is None or node.domain != "" or not is_inner(value):
        return value, 1.0, []
    both = operands(node) if node.op_type == "Mul" else None
    if node.op_type == "Div" and len(node.inputs) == 2 and None not in node.inputs:
        both = (node.inputs[0], node.inputs[1])  # type: ignore[assignment]
    factor = None if both is None else number(both[1])
    if both is None or factor is None or factor == 0:
        return value, 1.0, []
    return both[0], factor if node.op_type == "Mul" else 1 / factor, [node]


def _untransposed(value: ir.Value) -> tuple[ir.Value, list[ir.Node], float, bool] | None:
    """Keys [batch, heads, keys, width], from what has the last two axes exchanged.

    Where the Transpose makes the heads as well, they are [batch, keys, heads, width], and the last
    that is returned is False.
    """
    node = producer(value, "Transpose")
    if node is not None and is_inner(value):
        perm = tuple(node.attributes.get_ints("perm", ()))
        source = node.inputs[0]
        if perm in ((0, 1, 3, 2), TURNED) and source is not None:
            plain, factor, scaling = _unscaled(source)
            return plain, [node, *scaling], factor, perm != TURNED
        return None
    # As torch exports it: heads and batch are one axis while the last two are exchanged.
    outer = producer(value, "Reshape")
    turn = None if outer is None or not is_inner(value) else producer(outer.inputs[0], "Transpose")
    if outer is None or turn is None or not is_inner(turn.outputs[0]):
        return None
    inner = producer(turn.inputs[0], "Reshape")
    if inner is None or not is_inner(inner.outputs[0]):
        return None
    source = inner.inputs[0]
    if tuple(turn.attributes.get_ints("perm", ())) != (0, 2, 1) or source is None:
        return None
    before, after = sizes(source), sizes(value)
    if before is None or after is None or len(before) != 4 or len(after) != 4:
        return None
    if before[1] != after[1] or before[3] != after[2] or None in (before[1], before[3]):
        return None
    return source, [outer, turn, inner], 1.0, True


def source_of(value: ir.Value) -> Source | None:
    """Where heads [batch, heads, tokens, width] lie as rows; None where they do not."""
    turn, heads = producer(value, "Transpose"), sizes(value)
    if heads is None:
        return None
    if turn is not None and tuple(turn.attributes.get_ints("perm", ())) == HEADS_LAST:
        return _cut_to_heads(turn.inputs[0], [heads[1], heads[3]], None)
    picked = _picked(value)
    turn = None if picked is None else producer(picked[0], "Transpose")
    if picked is None or turn is None:
        return None
    if tuple(turn.attributes.get_ints("perm", ())) != PACKED:
        return None
    whole = sizes(turn.inputs[0])
    if whole is None or len(whole) != 5 or whole[2] is None:
        return None
    return _cut_to_heads(turn.inputs[0], [whole[2], heads[1], heads[3]], picked[1])


def _cut_to_heads(
    value: ir.Value | None, ends_in: list[int | None], part: int | None
) -> Source | None:
    """What is reshaped to [batch, tokens, *ends_in], where it has the same first two axes."""
    reshape, made = producer(value, "Reshape"), sizes(value)
    source = None if reshape is None else reshape.inputs[0]
    before = sizes(source)
    if source is None or made is None or before is None or len(before) != 3:
        return None
    if None in ends_in or made[2:] != ends_in or before[2] is None:
        return None
    length = 1
    for size in ends_in:
        length *= size or 0
    # One open size may be another's name; two of them could be exchanged.
    same = all(a == b or None in (a, b) for a, b in zip(before[:2], made[:2], strict=True))
    is_told = before[1] is not None or before[0] is not None or _keeps_first(reshape)
    return Source(source, part) if length == before[2] and same and is_told else None


def _keeps_first(reshape: ir.Node | None) -> bool:
    """Whether a Reshape takes its first size over."""
    target = None if reshape is None else integers(reshape.inputs[1])
    zero = reshape is not None and reshape.attributes.get_int("allowzero", 0) == 0
    return target is not None and target[0] == 0 and zero


def _picked(value: ir.Value) -> tuple[ir.Value, int] | None:
    """One of several along the first axis, and which."""
    gather = producer(value, "Gather")
    if gather is not None:
        index = constant(gather.inputs[1])
        if index is None or len(index.shape) or gather.attributes.get_int("axis", 0) != 0:
            return None
        source = gather.inputs[0]
        return None if source is None else (source, int(index.numpy()))
    squeeze = producer(value, "Squeeze")
    if squeeze is None or len(squeeze.inputs) < 2 or integers(squeeze.inputs[1]) != [0]:
        return None
    taken = producer(squeeze.inputs[0], "Slice")
    if taken is not None:
        bounds = [integers(one) for one in taken.inputs[1:]]
        starts, ends = (*bounds, None, None)[:2]
        axes = bounds[2] if len(bounds) > 2 else [0]
        steps = bounds[3] if len(bounds) > 3 else [1]
        source = taken.inputs[0]
        if source is None or starts is None or ends is None or axes != [0] or steps != [1]:
            return None
        return (source, starts[0]) if ends[0] == starts[0] + 1 and starts[0] >= 0 else None
    piece = squeeze.inputs[0]
    split = None if piece is None else piece.producer()
    if piece is None or split is None or split.op_type != "Split":
        return None
    if split.attributes.get_int("axis", 0) != 0:
        return None
    source = split.inputs[0]
    return None if source is None else (source, list(split.outputs).index(piece))


def joined(value: ir.Value) -> tuple[tuple[ir.Node, ...], ir.Value]:
    """The Transpose and the Reshape that join the heads, and what they write."""
    turn = only_reader(value, "Transpose")
    if turn is None or tuple(turn.attributes.get_ints("perm", ())) != HEADS_LAST:
        return (), value
    reshape = only_reader(turn.outputs[0], "Reshape")
    before = sizes(turn.outputs[0])
    after = None if reshape is None else sizes(reshape.outputs[0])
    if reshape is None or before is None or after is None or len(after) != 3:
        return (), value
    if before[2] is None or before[3] is None or after[2] != before[2] * before[3]:
        return (), value
    return (turn, reshape), reshape.outputs[0]
