"""A decoder's cache of keys and values as integers of 8 bits, which products read as they are.

    before   K' = Concat(K, k)       s = q · K'ᵀ                     o = p · V'
    after    K' = Concat(K, Q(k))    s = s_q · s_K · (Q(q) ⊗ K')     o = m · s_V · (Q(p / m) ⊗ V')

⊗ multiplies integers (MatMulInteger), m is the largest number of each row of p = Softmax(s). A
cache grows by copying, a quarter of the bytes, and a product reads a quarter. Probabilities are
divided by the largest of their row: with one scale for all, those of a head that attends to
everything would round to nothing beside those of one that attends to a single token. Queries have a
scale that is known beforehand, unless they differ much in size: then each row is divided by its
largest number, too, and the scale found at run time. Keys are stored with tokens as the last axis,
as the product reads them, where there is nothing but a Transpose in between. Scales of a cache are
fixed by calibration: what is in it is not quantized again.

Values of 8 bits with a scale a tensor after Dettmers et al. 2022 (arXiv 2208.07339, section 2);
why caches pay, Hooper et al. 2024 (arXiv 2401.18079, section 1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from calibration.taps import AXES_AS_INPUT
from compressor.errors import RecipeError
from compressor.graph.cache_notes import NOTE, CacheNote, written
from compressor.graph.constants import constant
from compressor.graph.initializers import FreeNames, add_initializer, taken_names
from compressor.graph.invariants import check

MOVING = frozenset({"Transpose", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Identity"})
"""Operators that integers pass through as they are."""
LEVELS = 255
"""Steps of a byte."""
TINY = 1e-30
"""What a row of zeros is divided by."""


class Affine(NamedTuple):
    """x ≈ (q - zero_point) · scale."""

    scale: float
    zero_point: int


@dataclass(frozen=True)
class CachePlace:
    """A tensor of a cache that could be integers.

    Attributes:
        value: The graph's input.
        concat: Appends what is new.
        chain: Nodes from there to the product, in order.
        product: The MatMul whose second operand it is.
        transposed: Whether it can be stored with tokens as the last axis.
        factor: What the nodes in between multiply it by.
    """

    value: ir.Value
    concat: ir.Node
    chain: tuple[ir.Node, ...]
    product: ir.Node
    transposed: bool
    factor: float

    @property
    def input(self) -> str:
        """Name of the graph's input."""
        return self.value.name or ""

    @property
    def output(self) -> str:
        """Name of the graph's output."""
        return self.concat.outputs[0].name or ""

    @property
    def query(self) -> str | None:
        """What keys are multiplied by; None of values, which probabilities multiply."""
        rows = self.product.inputs[0]
        return None if rows is None or _are_shares(rows) else rows.name


def find_caches(model: ir.Model) -> tuple[list[CachePlace], dict[str, str]]:
    """The inputs of a graph that grow and come out again, and could be integers.

    Args:
        model: A graph whose products of two activations are float.

    Returns:
        The places, and for each other input that is appended to and comes out why it has to stay
        float.
    """
    found: list[CachePlace] = []
    reasons: dict[str, str] = {}
    for value in model.graph.inputs:
        concat = _appending(value)
        if concat is None or concat.graph is not model.graph:
            continue
        place = _place(value, concat)
        if isinstance(place, str):
            reasons[value.name or ""] = place
        else:
            found.append(place)
    return found, reasons


def affine(low: float, high: float) -> Affine:
    """Scale and zero point that hold a range, and 0.

    scale = (high - low) / 255      zero point = round(-low / scale)
    """
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = max(high - low, TINY) / LEVELS
    return Affine(scale, round(-low / scale))


def calibrated(low: float, high: float, place: CachePlace) -> CacheNote:
    """A cache of a range, as it fits there."""
    found = affine(low, high)
    return CacheNote(place.output, found.scale, found.zero_point, place.transposed)


def with_integer_caches(
    model: ir.Model,
    caches: Mapping[str, CacheNote],
    queries: Mapping[str, Affine] = MappingProxyType({}),
) -> ir.Model:
    """The graph with those caches as integers; `model` stays as it is.

    Args:
        model: The graph that ships, but for its caches.
        caches: Input → scale and zero point.
        queries: Input → those of what multiplies it, where that is known beforehand.

    Raises:
        RecipeError: The graph has no such cache, or it cannot be integers there.
    """
    clone = model.clone()
    places, reasons = find_caches(clone)
    known = {place.input: place for place in places}
    writer = _Writer(clone)
    for name, note in caches.items():
        place = known.get(name)
        if (
            place is None
            or place.output != note.output
            or (note.transposed and not place.transposed)
        ):
            raise RecipeError(
                f"the plan does not fit the graph: {name!r} cannot be a cache of integers"
                f" ({reasons.get(name, 'it is none that grows')})",
                hint="Replay a plan with the model and the options that it was made with.",
            )
        writer.rewrite(place, note, queries.get(name))
    clone.metadata_props[NOTE] = written(caches)
    RemoveUnusedNodesPass()(clone)
    check(clone, "integer caches")
    return clone


def _appending(value: ir.Value) -> ir.Node | None:
    """The Concat that appends to an input, and whose result the graph gives out."""
    if value.dtype != ir.DataType.FLOAT or value.shape is None or len(value.shape) < 3:
        return None
    found = [node for node in value.consumers() if node.op_type == "Concat"]
    if len(found) != 1 or not found[0].outputs[0].is_graph_output():
        return None
    return found[0]


def _place(value: ir.Value, concat: ir.Node) -> CachePlace | str:
    rank = len(value.shape or ())
    axis = concat.attributes.get_int("axis", 0) % rank
    if len(concat.inputs) != 2 or concat.inputs[0] is not value or axis != rank - 2:
        return "what is new is not appended along the axis before the last"
    others = [n for n in value.consumers() if n is not concat and n.op_type != "Shape"]
    if others:
        return f"{others[0].op_type} {others[0].name!r} reads it beside what appends to it"
    walked = _walked(concat.outputs[0])
    if isinstance(walked, str):
        return walked
    chain, product, factor = walked
    moves = [node for node in chain if node.op_type not in ("Mul", "Div")]
    transposed = _swaps(moves, concat.outputs[0], rank)
    return CachePlace(value, concat, tuple(chain), product, transposed, factor)


def _swaps(moves: Sequence[ir.Node], value: ir.Value, rank: int) -> bool:
    """Whether nodes exchange the last two axes, and do nothing else.

    torch writes that of keys [batch, heads, tokens, width] with batch and heads as one axis
    meanwhile: Reshape, Transpose, Reshape.
    """
    kinds = [node.op_type for node in moves]
    if kinds == ["Transpose"]:
        swap = [*range(rank - 2), rank - 1, rank - 2]
        return list(moves[0].attributes.get_ints("perm", ())) == swap
    if kinds != ["Reshape", "Transpose", "Reshape"] or rank != 4:
        return False
    if list(moves[1].attributes.get_ints("perm", ())) != [0, 2, 1]:
        return False
    before, after = value.shape, moves[2].outputs[0].shape
    if before is None or after is None or len(after) != 4:
        return False
    known = (before[1], before[3])
    return all(isinstance(size, int) for size in known) and known == (after[1], after[2])


def _walked(value: ir.Value) -> tuple[list[ir.Node], ir.Node, float] | str:
    """The nodes from the cache to the product that reads it, and what they multiply it by."""
    chain: list[ir.Node] = []
    factor, readers_of = 1.0, value.graph
    while True:
        readers = [node for node in value.consumers() if node.op_type != "Shape"]
        if len(readers) != 1:
            return f"{len(readers)} nodes read {value.name!r}, and one product should"
        node = readers[0]
        where = [index for index, one in enumerate(node.inputs) if one is value]
        if node.graph is not readers_of:
            return f"a body reads {value.name!r}"
        if node.op_type == "MatMul" and node.domain == "" and where == [1]:
            return chain, node, factor
        by = _scalar(node, value)
        if by is None and not (node.op_type in MOVING and node.domain == "" and where == [0]):
            return f"{node.op_type} {node.name!r} stands between it and its product"
        chain.append(node)
        factor *= 1.0 if by is None else by
        value = node.outputs[0]


def _are_shares(rows: ir.Value) -> bool:
    """Whether a Softmax made them, perhaps with what is no number replaced."""
    node = rows.producer()
    if node is None or node.domain != "":
        return False
    if node.op_type == "Where":
        return any(one is not None and _are_shares(one) for one in node.inputs[1:])
    return node.op_type == "Softmax"


def _scalar(node: ir.Node, value: ir.Value) -> float | None:
    """What a node multiplies a value by, if that is one constant number."""
    if node.op_type not in ("Mul", "Div") or len(node.inputs) != 2 or node.domain != "":
        return None
    other = node.inputs[1] if node.inputs[0] is value else node.inputs[0]
    tensor = None if other is None else constant(other)
    if (
        tensor is None
        or tensor.size != 1
        or (node.op_type == "Div" and node.inputs[0] is not value)
    ):
        return None
    number = float(tensor.numpy().reshape(-1)[0])
    return number if node.op_type == "Mul" else 1 / number


def _scaled_behind(product: ir.Node) -> tuple[ir.Node, float]:
    """The product, or what alone reads it and multiplies it by a number; and the number."""
    made = product.outputs[0]
    readers = list(made.consumers())
    by = _scalar(readers[0], made) if len(readers) == 1 and not made.is_graph_output() else None
    return (product, 1.0) if by is None else (readers[0], by)


class _Writer:
    """Rewrites caches of one graph."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        nodes = (node.name for node in model.graph.all_nodes())
        self._names = FreeNames((*taken_names(model.graph), *nodes), first=1)
        self._axes_as_input = model.opset_imports.get("", 0) >= AXES_AS_INPUT

    def rewrite(self, place: CachePlace, note: CacheNote, query: Affine | None) -> None:
        """One tensor."""
        zero = self._constant(place, "zero_point", np.uint8(note.zero_point))
        self._append(place, note, zero)
        ends = place.concat.outputs[0]
        for value in (place.value, ends, *(node.outputs[0] for node in place.chain)):
            value.type = ir.TensorType(ir.DataType.UINT8)  # of its own: clones share types
        for node in place.chain:
            if _scalar(node, ends) is not None or note.transposed:
                node.outputs[0].replace_all_uses_with(ends)
            else:
                ends = node.outputs[0]
        self._multiply(place, note, ends, zero, query)

    def _append(self, place: CachePlace, note: CacheNote, zero: ir.Value) -> None:
        """Append integers; lengths that are read of a cache are those of its other axis."""
        concat, value = place.concat, place.value
        rank = len(value.shape or ())
        new = concat.inputs[1]
        assert new is not None, "it was looked at"
        swap = [*range(rank - 2), rank - 1, rank - 2]
        if note.transposed:
            for one in (value, concat.outputs[0]):
                self._relearn_sizes(one, swap)
                one.shape = None if one.shape is None else ir.Shape([one.shape[i] for i in swap])
            new = self._node(place, "Transpose", [new], concat, perm=swap)
            concat.attributes["axis"] = ir.AttrInt64("axis", rank - 1)
        scale = self._constant(place, "scale", np.float32(note.scale))
        concat.replace_input_with(
            1, self._node(place, "QuantizeLinear", [new, scale, zero], concat)
        )

    def _relearn_sizes(self, value: ir.Value, swap: Sequence[int]) -> None:
        for node in list(value.consumers()):
            if node.op_type != "Shape":
                continue
            start = node.attributes.get_int("start", 0)
            end = node.attributes.get_int("end", len(swap))
            order = self._constant(None, "order", np.array(swap[start:end], np.int64))
            whole = ir.node("Shape", [value], name=self._names.take(f"{node.name}_whole"))
            whole.outputs[0].name = whole.name
            picked = ir.node("Gather", [whole.outputs[0], order], {"axis": 0}, name=node.name)
            picked.outputs[0].type = ir.TensorType(ir.DataType.INT64)
            ir.convenience.replace_nodes_and_values(
                self._graph, node, [node], [whole, picked], node.outputs, picked.outputs
            )

    def _multiply(
        self,
        place: CachePlace,
        note: CacheNote,
        cache: ir.Value,
        zero: ir.Value,
        query: Affine | None,
    ) -> None:
        """The product of integers, in place of the one of numbers and of a number behind it."""
        product, rows = place.product, place.product.inputs[0]
        assert rows is not None, "a product has two operands"
        last, behind = _scaled_behind(product)
        step = note.scale * place.factor * behind
        if place.query is None:
            whole, none, scales = self._shares(place, rows, step)
        elif query is not None:
            whole, none, scales = self._known(place, rows, step, query)
        else:
            whole, none, scales = self._rows(place, rows, step)
        sums = self._node(place, "MatMulInteger", [whole, cache, none, zero], product)
        real = self._node(place, "Cast", [sums], product, to=int(ir.DataType.FLOAT))
        result, old = self._node(place, "Mul", [real, scales], product), last.outputs[0]
        result.shape, result.type = old.shape, old.type
        ir.convenience.replace_nodes_and_values(self._graph, last, [last], [], [old], [result])
        if last is not product:
            self._graph.remove(product, safe=True)
        made = result.producer()
        assert made is not None, "it was just made"
        made.name = product.name

    def _shares(
        self, place: CachePlace, rows: ir.Value, step: float
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Integers of probabilities, their zero point, and the scale of each row's sums."""
        product, largest = place.product, self._largest(place, rows)
        made_by = rows.producer()
        if made_by is None or made_by.op_type != "Softmax":
            tiny = self._constant(place, "tiny", np.float32(TINY))
            largest = self._node(place, "Max", [largest, tiny], product)
        share = self._node(place, "Div", [rows, largest], product)
        level = self._constant(place, "level", np.float32(1 / LEVELS))
        none = self._constant(place, "none", np.uint8(0))
        whole = self._node(place, "QuantizeLinear", [share, level, none], product)
        unit = self._constant(place, "unit", np.float32(step / LEVELS))
        return whole, none, self._node(place, "Mul", [largest, unit], product)

    def _known(
        self, place: CachePlace, rows: ir.Value, step: float, query: Affine
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The same of queries whose range is known."""
        scale = self._constant(place, "query_scale", np.float32(query.scale))
        none = self._constant(place, "query_zero_point", np.uint8(query.zero_point))
        whole = self._node(place, "QuantizeLinear", [rows, scale, none], place.product)
        return whole, none, self._constant(place, "unit", np.float32(query.scale * step))

    def _rows(
        self, place: CachePlace, rows: ir.Value, step: float
    ) -> tuple[ir.Value, ir.Value, ir.Value]:
        """The same of queries that differ in size."""
        product = place.product
        absolute = self._node(place, "Abs", [rows], product)
        tiny = self._constant(place, "tiny", np.float32(TINY))
        largest = self._node(place, "Max", [self._largest(place, absolute), tiny], product)
        share = self._node(place, "Div", [rows, largest], product)
        whole, scale, none = self._quantized(place, share)
        unit = self._constant(place, "unit", np.float32(step))
        both = self._node(place, "Mul", [scale, unit], product)
        return whole, none, self._node(place, "Mul", [largest, both], product)

    def _largest(self, place: CachePlace, rows: ir.Value) -> ir.Value:
        """The largest number of each row."""
        if not self._axes_as_input:
            return self._node(place, "ReduceMax", [rows], place.product, axes=[-1], keepdims=1)
        last = self._constant(place, "last", np.array([-1], np.int64))
        return self._node(place, "ReduceMax", [rows, last], place.product, keepdims=1)

    def _quantized(self, place: CachePlace, rows: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        name = self._names.take(f"{place.input}_DynamicQuantizeLinear")
        made = ir.node("DynamicQuantizeLinear", [rows], num_outputs=3, name=name)
        for value, what in zip(made.outputs, ("q", "scale", "zero_point"), strict=True):
            value.name = self._names.take(f"{name}_{what}")
        self._graph.insert_before(place.product, made)
        one, other, last = made.outputs
        return one, other, last

    def _node(
        self,
        place: CachePlace,
        operator: str,
        inputs: Sequence[ir.Value],
        before: ir.Node,
        **attributes: int | Sequence[int],
    ) -> ir.Value:
        made = ir.node(operator, list(inputs), attributes)
        made.name = made.outputs[0].name = self._names.take(f"{place.input}_{operator}")
        self._graph.insert_before(before, made)
        return made.outputs[0]

    def _constant(
        self, place: CachePlace | None, what: str, array: np.ndarray | np.generic
    ) -> ir.Value:
        owner = "cache" if place is None else place.input
        return add_initializer(self._graph, self._names.take(f"{owner}_{what}"), np.asarray(array))
