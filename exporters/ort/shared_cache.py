"""A decoder's attention as GroupQueryAttention of com.microsoft, over a cache in shared buffers.

    before   K' = Concat(K, k)      V' = Concat(V, v)      y = Softmax(c · q K'ᵀ + M) V'
    after    y, K', V' = GroupQueryAttention(q, k, v, K, V, lengths, M)       K' is K, V' is V

K and V are then buffers of any capacity that the operator writes behind the tokens in them, so that
a step copies nothing. Whoever calls gives one array as input and output, and says how long
the text is (`compressor.graph.shared_cache`); wherever the graph asked a cache for its length it
is told `total - new`. Where M hides what comes later and nothing else, the operator does so by
itself. Buffers may hold int8, with one scale a tensor: x ≈ q · scale.

Heads of keys that several heads of queries read (Ainslie et al. 2023, arXiv 2305.13245, section
2.2) are read as they are, without the copies that a product needs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compressor.errors import RecipeError
from compressor.graph import cache_notes, shared_cache
from compressor.graph.cache_notes import CacheNote
from compressor.graph.cores import HEADS_LAST, Core, Source, cores, joined, source_of
from compressor.graph.emitting import MICROSOFT
from compressor.graph.initializers import FreeNames, add_initializer, taken_names
from compressor.graph.invariants import check
from compressor.graph.matching import integers, is_inner, producer, sizes
from compressor.graph.runtime import onnx_runtime
from compressor.graph.shapes import known_shapes
from compressor.graph.shared_cache import CAPACITY, LENGTHS, RANK, TOKENS, TOTAL, SharedNote
from exporters.base.shared_cache import SharedTensor

OPERATOR = "GroupQueryAttention"
NEEDED = frozenset({"scale", "causal", "k_quant_type", "v_quant_type", "kv_cache_bit_width"})
"""Attributes without which a runtime's operator does less than is asked of it here."""


@dataclass(frozen=True)
class _Place:
    """One attention.

    Attributes:
        core: What is computed.
        key: Appends keys.
        value: Appends values.
        q: Queries as rows; None where they have to be made that.
        k: What is new of keys, likewise.
        v: What is new of values, likewise.
        y: What is written instead.
        joined: Whether that has its heads joined.
    """

    core: Core
    key: ir.Node
    value: ir.Node
    q: Source | None
    k: Source | None
    v: Source | None
    y: ir.Value
    joined: bool


@lru_cache(maxsize=1)
def why_not_here() -> str | None:
    """Why the installed runtime cannot run it; None where it can."""
    runtime = onnx_runtime()
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415 - only who asks pays for it

    known = {one.name: set(one.attributes) for one in state.get_all_operator_schema()}
    lacking = NEEDED - known.get(OPERATOR, set())
    if not lacking:
        return None
    return f"{OPERATOR} of ONNX Runtime {runtime.__version__} has no {', '.join(sorted(lacking))}"


def cores_over_caches(model: ir.Model) -> dict[str, str]:
    """Softmax → the input whose keys it weighs, of attention over a cache."""
    return {place.core.name: _input(place.key) for place in _places(known_shapes(model.clone()))}


def find_shared(model: ir.Model) -> dict[str, SharedTensor] | str:
    """The tensors of a cache that could be buffers: all of the graph; or why there are none."""
    return _found(known_shapes(model.clone()))


def _found(model: ir.Model) -> dict[str, SharedTensor] | str:
    appended = {
        value.name or "": node
        for value in model.graph.inputs
        for node in value.consumers()
        if node.op_type == "Concat" and node.inputs[0] is value
        if node.outputs[0].is_graph_output()
    }
    if not appended:
        return "no input is one that grows and comes out again"
    found: dict[str, SharedTensor] = {}
    for place in _places(model):
        mask = None if place.core.mask is None else place.core.mask.value.name
        for node in (place.key, place.value):
            found[_input(node)] = SharedTensor(node.outputs[0].name or "", mask)
    lacking = [name for name in appended if name not in found]
    if lacking:
        return f"{lacking[0]}: what reads it is no softmax of scores and a product with values"
    reason = _why_lengths_are_not_told(model, found)
    if reason is None and _tokens(model, found) is None:
        reason = "no input is known to bring new tokens"
    return found if reason is None else reason


def with_shared_caches(
    model: ir.Model, scales: Mapping[str, float | None], causal: Mapping[str, bool]
) -> ir.Model:
    """The graph with its caches as buffers; `model` stays as it is.

    Args:
        model: What ships, but for its caches.
        scales: Input → the scale of its integers; None of one in float.
        causal: Input of keys → whether its mask hides what comes later, and nothing else.

    Raises:
        RecipeError: The caches are others, or cannot be buffers.
    """
    clone = known_shapes(model.clone())
    found = _found(clone)
    if isinstance(found, str) or set(found) != set(scales):
        told = found if isinstance(found, str) else f"its caches are {', '.join(found)}"
        raise RecipeError(
            f"the plan does not fit the graph: its caches cannot be buffers ({told})",
            hint="Replay a plan with the model and the options that it was made with.",
        )
    writer = _Writer(clone, _tokens(clone, found) or ("", 0))
    writer.tell_lengths(found)
    for place in list(_places(clone)):
        writer.rewrite(place, scales, causal=causal.get(_input(place.key), False))
    writer.declare(found, scales)
    RemoveUnusedNodesPass()(clone)
    clone.graph.sort()
    check(clone, "shared caches")
    return clone


def _input(append: ir.Node) -> str:
    first = append.inputs[0]
    return "" if first is None else first.name or ""


def _places(model: ir.Model) -> Iterator[_Place]:
    for core in cores(model):
        key, value = _appending(core.k), _appending(core.v)
        heads = None if key is None else (sizes(key.outputs[0]) or [None, None])[1]
        if not core.k_apart or key is None or value is None:
            continue
        if heads is None or core.heads % heads:
            continue
        new_k, new_v = key.inputs[1], value.inputs[1]
        if new_k is None or new_v is None or sizes(value.outputs[0]) != sizes(key.outputs[0]):
            continue
        behind, y = joined(core.y) if not core.joined else ((), core.y)
        whole = core.joined or bool(behind)
        yield _Place(
            core, key, value, source_of(core.q), source_of(new_k), source_of(new_v), y, whole
        )


def _appending(value: ir.Value) -> ir.Node | None:
    """The Concat that makes keys or values, perhaps with heads copied for those that read them."""
    node = _uncopied(value).producer()
    if node is None or node.op_type != "Concat" or len(node.inputs) != 2 or node.domain != "":
        return None
    past, made = node.inputs[0], node.outputs[0]
    if past is None or not past.is_graph_input() or not made.is_graph_output():
        return None
    shape = sizes(past)
    if shape is None or len(shape) != RANK or past.dtype != ir.DataType.FLOAT:
        return None
    return node if node.attributes.get_int("axis", 0) % RANK == TOKENS else None


def _uncopied(value: ir.Value) -> ir.Value:
    """Heads before each is copied next to itself; the value itself where nothing is copied."""
    spread = producer(value, "Expand")
    if spread is not None and (sizes(spread.inputs[0]) or [None, None])[1] == 1:
        return spread.inputs[0] or value
    outer = producer(value, "Reshape")
    spread = None if outer is None else producer(outer.inputs[0], "Expand")
    apart = None if spread is None else producer(spread.inputs[0], "Unsqueeze")
    if apart is None or integers(apart.inputs[1]) != [TOKENS]:
        return value
    before, after = sizes(apart.inputs[0]), sizes(value)
    if before is None or after is None or len(after) != RANK or before[3] != after[3]:
        return value
    return apart.inputs[0] or value


def _why_lengths_are_not_told(model: ir.Model, found: Mapping[str, SharedTensor]) -> str | None:
    """What reads a cache beside its attention and for more than its sizes; None where nothing."""
    owned = set[ir.Node]()
    for place in _places(model):
        owned |= {*place.core.nodes, place.key, place.value}
        for end in (place.core.k, place.core.v):
            owned |= _between(end, _uncopied(end))
    outputs = {tensor.output for tensor in found.values()}
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.name not in found and value.name not in outputs:
            continue
        for node in value.consumers():
            if node.graph is not model.graph:
                return f"a body reads {value.name!r}"
            if node not in owned and node.op_type != "Shape":
                return f"{node.op_type} {node.name!r} reads {value.name!r} beside its attention"
    for name in (LENGTHS, TOTAL):
        if any(value.name == name for value in model.graph.inputs):
            return f"it has an input {name!r} of its own"
    return None


def _between(end: ir.Value, begin: ir.Value) -> set[ir.Node]:
    """The nodes of a chain from one value to another."""
    nodes = set[ir.Node]()
    while end is not begin:
        node = end.producer()
        if node is None or node.inputs[0] is None:
            break
        nodes.add(node)
        end = node.inputs[0]
    return nodes


def _tokens(model: ir.Model, found: Mapping[str, SharedTensor]) -> tuple[str, int] | None:
    """The input that brings new tokens, and the axis that counts them.

    By the name of the size, where what is appended has one; else the first of tokens or of rows
    [batch, tokens, width].
    """
    symbols = set[str]()
    for place in _places(model):
        new = place.key.inputs[1]
        size = None if new is None or new.shape is None else new.shape[TOKENS]
        if isinstance(size, ir.SymbolicDim) and size.value is not None:
            symbols.add(size.value)
    likely: list[tuple[str, int]] = []
    for value in model.graph.inputs:
        if value.name in found or value.shape is None:
            continue
        for axis, size in enumerate(value.shape):
            if isinstance(size, ir.SymbolicDim) and size.value in symbols:
                return value.name or "", axis
        rank = len(value.shape)
        whole = value.dtype in (ir.DataType.INT64, ir.DataType.INT32)
        if (whole and rank == 2) or (value.dtype == ir.DataType.FLOAT and rank == 3):
            likely.append((value.name or "", 1))
    return likely[0] if likely else None


class _Writer:
    """Rewrites one graph."""

    def __init__(self, model: ir.Model, tokens: tuple[str, int]) -> None:
        self._model, self._graph, self._tokens = model, model.graph, tokens
        nodes = (node.name for node in model.graph.all_nodes())
        self._names = FreeNames((*taken_names(model.graph), *nodes), first=1)
        self._lengths = self._added(LENGTHS, [self._batch_name()])
        self._total = self._added(TOTAL, [])
        model.opset_imports.setdefault(MICROSOFT, 1)

    def _batch_name(self) -> str | int | None:
        first = next(v for v in self._graph.inputs if v.shape is not None and len(v.shape) == RANK)
        size = None if first.shape is None else first.shape[0]
        return size.value if isinstance(size, ir.SymbolicDim) else size

    def _added(self, name: str, shape: Sequence[int | str | None]) -> ir.Value:
        value = ir.Value(
            name=name, type=ir.TensorType(ir.DataType.INT32), shape=ir.Shape(list(shape))
        )
        self._graph.inputs.append(value)
        return value

    def tell_lengths(self, found: Mapping[str, SharedTensor]) -> None:
        """Let what asks a cache for its length read that of the text."""
        outputs = {tensor.output for tensor in found.values()}
        name, axis = self._tokens
        counted = next(value for value in self._graph.inputs if value.name == name)
        total = self._node("Cast", [self._total], to=int(ir.DataType.INT64))
        one = self._constant("one", np.array([1], np.int64))
        present = self._node("Reshape", [total, one])
        new = self._node("Shape", [counted], start=axis, end=axis + 1)
        past = self._node("Sub", [present, new])
        for value in (*self._graph.inputs, *self._graph.outputs):
            if value.name in found or value.name in outputs:
                length = past if value.name in found else present
                for node in list(value.consumers()):
                    if node.op_type == "Shape":
                        self._retell(node, value, length)

    def _retell(self, node: ir.Node, value: ir.Value, length: ir.Value) -> None:
        """Sizes of a cache, with the length of the text among them."""
        start = node.attributes.get_int("start", 0) % RANK
        asked = node.attributes.get_int("end", RANK)
        end = min(asked if asked >= 0 else asked + RANK, RANK)
        if not start <= TOKENS < end:
            return
        parts = [length]
        if start < TOKENS:
            parts.insert(0, self._node("Shape", [value], start=start, end=TOKENS))
        if end > TOKENS + 1:
            parts.append(self._node("Shape", [value], start=TOKENS + 1, end=end))
        made = parts[0] if len(parts) == 1 else self._node("Concat", parts, axis=0)
        node.outputs[0].replace_all_uses_with(made)

    def rewrite(self, place: _Place, scales: Mapping[str, float | None], *, causal: bool) -> None:
        """One attention."""
        core, heads = place.core, (sizes(place.key.outputs[0]) or [0, 0])[1] or 0
        inputs: list[ir.Value | None] = [
            *self._queries(place), place.key.inputs[0], place.value.inputs[0],
            self._lengths, self._total,
        ]  # fmt: skip
        if core.mask is not None and not causal:
            inputs += [None] * 3 + [self._bias(core)]
        attributes: dict[str, Any] = {
            "num_heads": core.heads,
            "kv_num_heads": heads,
            "scale": core.scale,
            "causal": int(causal),
        }
        steps = [scales[_input(node)] for node in (place.key, place.value)]
        if None not in steps:
            inputs += [None] * (12 - len(inputs))
            inputs += [
                self._constant(f"{_input(node)}_scale", np.array([step], np.float32))
                for node, step in zip((place.key, place.value), steps, strict=True)
            ]
            attributes |= {"k_quant_type": "PER_TENSOR", "v_quant_type": "PER_TENSOR"}
            attributes |= {"kv_cache_bit_width": 8}
        node = ir.node(OPERATOR, inputs, attributes, domain=MICROSOFT, num_outputs=3)
        node.name = self._names.take(f"{core.name}_shared")
        self._graph.append(node)
        self._replace(place, node)

    def _replace(self, place: _Place, node: ir.Node) -> None:
        rows, y = node.outputs[0], place.y
        rows.name, rows.type = self._names.take(f"{node.name}_rows"), y.type
        made = rows if place.joined else self._apart(rows, place)
        for old, new in zip(
            (y, place.key.outputs[0], place.value.outputs[0]),
            (made, *node.outputs[1:]),
            strict=True,
        ):
            name = old.name
            new.shape, new.type = old.shape, old.type
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
            old.name, new.name = self._names.take(f"{name}_before"), name

    def _apart(self, rows: ir.Value, place: _Place) -> ir.Value:
        """[batch, heads, tokens, width], as the product with values was."""
        width = (sizes(place.core.v) or [0] * RANK)[3] or 0
        shape = self._constant("heads", np.array([0, 0, place.core.heads, width], np.int64))
        apart = self._node("Reshape", [rows, shape])
        return self._node("Transpose", [apart], perm=list(HEADS_LAST))

    def _queries(self, place: _Place) -> list[ir.Value | None]:
        """Q, K and V as rows, in one tensor where they lie in one."""
        packed = _packed(place)
        if packed is not None:
            return [packed, None, None]
        core, (k, v) = place.core, (place.key.inputs[1], place.value.inputs[1])
        triple = ((core.q, place.q), (k, place.k), (v, place.v))
        return [None if value is None else self._rows(value, at) for value, at in triple]

    def _rows(self, heads: ir.Value, at: Source | None) -> ir.Value:
        """[batch, tokens, heads · width], of heads in front of tokens."""
        if at is not None and at.part is None:
            return at.value
        _, count, _, width = sizes(heads) or [0] * RANK
        turned = self._node("Transpose", [heads], perm=list(HEADS_LAST))
        shape = np.array([0, 0, (count or 0) * (width or 0)], np.int64)
        return self._node("Reshape", [turned, self._constant("rows", shape)])

    def _bias(self, core: Core) -> ir.Value:
        """What is added to scores, [batch or 1, heads or 1, new, total]."""
        mask = core.mask
        assert mask is not None, "asked of attention with one"
        value = mask.value
        if mask.hides is not None:
            zero, least = (
                self._constant(what, np.float32(number))
                for what, number in (("seen", 0.0), ("hidden", -1e9))
            )
            sides = [least, zero] if mask.hides else [zero, least]
            value = self._node("Where", [value, *sides])
        rank = len(mask.value.shape or ())
        if rank < RANK:
            axes = self._constant("axes", np.arange(RANK - rank, dtype=np.int64))
            value = self._node("Unsqueeze", [value, axes])
        return self._node("Expand", [value, self._score_sizes()])

    def _score_sizes(self) -> ir.Value:
        """[1, 1, new, total], made once."""
        known = next((n for n in self._graph if n.name == "shared_score_sizes"), None)
        if known is not None:
            return known.outputs[0]
        name, axis = self._tokens
        counted = next(value for value in self._graph.inputs if value.name == name)
        ones = self._constant("ones", np.array([1, 1], np.int64))
        total = self._node("Cast", [self._total], to=int(ir.DataType.INT64))
        present = self._node("Reshape", [total, self._constant("one", np.array([1], np.int64))])
        new = self._node("Shape", [counted], start=axis, end=axis + 1)
        made = self._node("Concat", [ones, new, present], axis=0)
        node = made.producer()
        assert node is not None, "it was just made"
        node.name = "shared_score_sizes"
        return made

    def declare(
        self, found: Mapping[str, SharedTensor], scales: Mapping[str, float | None]
    ) -> None:
        """Types and sizes of buffers, and the notes that say what they are."""
        named = {value.name: value for value in (*self._graph.inputs, *self._graph.outputs)}
        past = present = ""
        for name, tensor in found.items():
            kind = ir.DataType.FLOAT if scales[name] is None else ir.DataType.INT8
            taken, given = named[name], named[tensor.output]
            past, present = past or _size(taken), present or _size(given)
            shape = [taken.shape[0], taken.shape[1], CAPACITY, taken.shape[3]]  # type: ignore[index]
            for value in (taken, given):
                value.type = ir.TensorType(kind)
                value.shape = ir.Shape(shape)
        outputs = {name: tensor.output for name, tensor in found.items()}
        properties = self._model.metadata_props
        note = SharedNote(self._tokens, outputs, past or "past", present or "present")
        properties[shared_cache.NOTE] = shared_cache.written(note)
        caches = {
            name: CacheNote(outputs[name], scale, 0, transposed=False, signed=True)
            for name, scale in scales.items()
            if scale is not None
        }
        if caches:
            properties[cache_notes.NOTE] = cache_notes.written(caches)

    def _node(self, operator: str, inputs: Sequence[ir.Value], **attributes: Any) -> ir.Value:
        made = ir.node(operator, list(inputs), attributes)
        made.name = made.outputs[0].name = self._names.take(f"shared_{operator}")
        self._graph.append(made)
        return made.outputs[0]

    def _constant(self, what: str, array: np.ndarray | np.generic) -> ir.Value:
        name = self._names.take(f"shared_{what}")
        return add_initializer(self._graph, name, np.asarray(array))


def _packed(place: _Place) -> ir.Value | None:
    """The one tensor [batch, tokens, queries, keys, values] that is split into all three."""
    rows = [place.q, place.k, place.v]
    if any(one is None for one in rows):
        return None
    parts = [one.part for one in rows if one is not None]
    values = [one.value for one in rows if one is not None]
    if parts == [0, 1, 2]:
        same = all(value is values[0] for value in values)
        return values[0] if same else None
    split = values[0].producer()
    if split is None or split.op_type != "Split" or list(split.outputs) != values:
        return None
    rank = len(split.outputs[0].shape or ())
    last = split.attributes.get_int("axis", 0) in (-1, rank - 1)
    return split.inputs[0] if last and rank == 3 and all(map(is_inner, values)) else None


def _size(value: ir.Value) -> str:
    """What the graph calls the length of a cache."""
    size = None if value.shape is None else value.shape[TOKENS]
    return (size.value or "") if isinstance(size, ir.SymbolicDim) else ""
