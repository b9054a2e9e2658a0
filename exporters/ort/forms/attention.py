"""The core of an attention as one operator, which keeps its heads to itself.

    Attention(Q, K, V, M)            opset 23: [batch, tokens, heads · width] in and out
    MultiHeadAttention(Q, K, V)      com.microsoft: the same, for any opset

Both save the transposes that make the heads, and MultiHeadAttention goes over long sequences block
by block. Which of them gains depends on the number of tokens; the core stays float in either. As
integers it would lose: two rounded factors in each product, and a softmax of 8 bits.

Attention raises the opset of the graph to 23, where no operator in it is another one by then
(GroupNormalization, whose parameters are of channels since 21). The versions between have no other
change than types that are added.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.cores import HEADS_LAST, HIDING, Core, Source, cores
from compressor.graph.emitting import MICROSOFT, Emitter
from compressor.graph.matching import floats, is_close, sizes
from compressor.graph.tensors import Array
from exporters.base.form import Place
from exporters.ort.forms.rewriting import FoundForm

OPSET = 23
"""The first that has Attention."""
LEAST = 13
"""The opset from which Softmax means one axis."""
CHANGED = frozenset({"GroupNormalization"})
"""Operators that are others before OPSET."""


class _CoreForm(FoundForm[Core]):
    """One operator."""

    computes = "floats"

    def cut(self, place: Core) -> Place:
        """From rows to rows, where there are such; a table of positions comes along as it is."""
        reads = tuple(value.name or "" for value in place.reads if constant(value) is None)
        return Place(place.name, place.operator, reads, place.y.name or "")


class Attention(_CoreForm):
    """The standard's operator."""

    name = "attention"
    words = "one Attention operator"

    def found(self, model: ir.Model) -> Iterator[Core]:
        """Where the opset can be raised."""
        opset = model.opset_imports.get("", 0)
        changed = any(n.op_type in CHANGED and n.domain == "" for n in model.graph.all_nodes())
        if opset >= LEAST and (opset >= OPSET or not changed) and not model.functions:
            yield from cores(model)

    def put(self, to: Emitter, place: Core) -> None:
        """The operator, of rows or of heads."""
        to.raise_opset(OPSET)
        attributes: dict[str, Any] = {} if _is_default(place) else {"scale": place.scale}
        if place.rows is not None:
            attributes |= {"q_num_heads": place.heads, "kv_num_heads": place.heads}
            inputs = [as_rows(to, source, place) for source in place.rows]
        else:
            inputs = [place.q, keys(to, place), place.v]
        if place.mask is not None:
            inputs.append(added(to, place))
        made = to.emit("Attention", inputs, _written(place), "core", whole=True, **attributes)
        to.replace(made if place.rows is None else _as_wanted(to, made, place))


class MultiHead(_CoreForm):
    """The runtime's own operator."""

    name = "multi-head"
    words = "one MultiHeadAttention operator"

    def found(self, model: ir.Model) -> Iterator[Core]:
        """Of rows; a mask has four axes there."""
        if model.opset_imports.get("", 0) < LEAST:
            return
        for core in cores(model):
            mask = None if core.mask is None else sizes(core.mask.value)
            if core.rows is not None and (mask is None or len(mask) == 4):
                yield core

    def put(self, to: Emitter, place: Core) -> None:
        """The operator."""
        assert place.rows is not None, "it was found so"
        inputs: list[ir.Value | None] = [as_rows(to, source, place) for source in place.rows]
        if place.mask is not None:
            inputs += [None, None, added(to, place)]
        scale: dict[str, Any] = {} if _is_default(place) else {"scale": place.scale}
        made = to.emit(
            "MultiHeadAttention", inputs, _written(place), "core",
            domain=MICROSOFT, whole=True, num_heads=place.heads, **scale,
        )  # fmt: skip
        to.replace(_as_wanted(to, made, place))


def keys(to: Emitter, place: Core) -> ir.Value:
    """Keys with their heads apart: [batch, heads, keys, width]."""
    if place.k_apart:
        return place.k
    batch, count, heads, width = sizes(place.k) or [None] * 4
    shape = [batch, heads, count, width]
    return to.emit("Transpose", [place.k], shape, "keys", whole=True, perm=list(HEADS_LAST))


def as_rows(to: Emitter, source: Source, place: Core) -> ir.Value:
    """[batch, tokens, heads · width] of queries, keys or values."""
    if source.part is None:
        return source.value
    shape = sizes(source.value) or []
    length = place.heads * place.width
    bounds = {
        "starts": source.part * length,
        "ends": (source.part + 1) * length,
        "axes": 2,
    }
    inputs = [
        to.weight(f"{name}_{source.part}", np.array([bound], np.int64))
        for name, bound in bounds.items()
    ]
    return to.emit(
        "Slice", [source.value, *inputs], [*shape[:2], length], f"part_{source.part}", whole=True
    )


def added(to: Emitter, place: Core) -> ir.Value:
    """What is added to scores: no number below `HIDING`, and a row for each query.

    The runtime gives zeros for a token to which the least of floats hides all others, where a
    softmax gives their mean. It refuses a mask of one row for all queries, as padding has it.
    """
    mask = place.mask
    assert mask is not None, "it was found so"
    shape, queries = sizes(mask.value) or [], (sizes(place.q) or [None] * 4)[2]
    rows = shape[-2] if len(shape) > 1 else 1
    spread = rows != queries or rows is None
    if not spread and mask.hides is None:
        known = floats(mask.value)
        if known is not None and known.min() >= HIDING:
            return mask.value
    least = _column(to, place, queries) if spread else to.weight("hiding", _float(HIDING))
    made = [*shape[:-2], queries, *shape[-1:]] if spread else shape
    if mask.hides is None:
        return to.emit("Max", [mask.value, least], made, "mask", whole=True)
    zero = to.weight("seen", _float(0.0))
    sides = [least, zero] if mask.hides else [zero, least]
    return to.emit("Where", [mask.value, *sides], made, "mask", whole=True)


def _column(to: Emitter, place: Core, queries: int | None) -> ir.Value:
    """[queries, 1] of `HIDING`; their number is asked at run time where it is open."""
    if queries is not None:
        return to.weight("hiding", np.full((queries, 1), HIDING, np.float32))
    tokens, axis = (place.rows[0].value, 1) if place.rows is not None else (place.q, 2)
    count = to.emit("Shape", [tokens], [1], "queries", whole=True, start=axis, end=axis + 1)
    column = [count, to.weight("one", np.array([1], np.int64))]
    shape = to.emit("Concat", column, [2], "column", whole=True, axis=0)
    for whole in (count, shape):
        whole.type = ir.TensorType(ir.DataType.INT64)
    value = ir.tensor([HIDING], dtype=ir.DataType.FLOAT)
    return to.emit("ConstantOfShape", [shape], [None, 1], "hiding", whole=True, value=value)


def _float(number: float) -> Array:
    return np.array(number, np.float32)


def _is_default(place: Core) -> bool:
    return is_close(place.scale, 1 / math.sqrt(place.width))


def _written(place: Core) -> list[int | None]:
    """The shape of what the operator writes."""
    q, v = sizes(place.q) or [], sizes(place.v) or []
    if place.rows is None:
        return [q[0], place.heads, q[2], v[3]]
    return [q[0], q[2], place.heads * (v[3] or 0)]


def _as_wanted(to: Emitter, made: ir.Value, place: Core) -> ir.Value:
    """With the heads apart, where that is what is read."""
    if place.joined:
        return made
    q, v = sizes(place.q) or [], sizes(place.v) or []
    tokens, width = q[2], v[3] or 0
    known = [0, -1 if tokens is None else tokens, place.heads, width]
    target = to.weight("heads", np.array(known, np.int64))
    apart = to.emit(
        "Reshape", [made, target], [q[0], tokens, place.heads, width], "apart", whole=True
    )
    shape = [q[0], place.heads, tokens, width]
    return to.emit("Transpose", [apart], shape, "heads_first", whole=True, perm=list(HEADS_LAST))
