"""Masks of attention for queries in blocks, whose keys are the blocks around them.

A mask that hides keys whatever the query, [batch, heads, 1, keys], goes along with the keys. Where
it was expanded to all queries, that is undone. Of one by queries and keys the band along the
diagonal is cut out, without a copy for each block: rows of W numbers lie one behind the other, so
that with b · W + b numbers a block of b rows, block n begins where its keys do.
"""

import numpy as np
import onnx_ir as ir

from compressor.attention.forms import Form
from compressor.attention.writing import Writer
from compressor.graph.constants import constant
from compressor.graph.cores import HIDING, Mask
from compressor.graph.matching import floats, sizes
from compressor.graph.tensors import Array

BOOL, FLOAT, INT = ir.DataType.BOOL, ir.DataType.FLOAT, ir.DataType.INT64
_ELEMENTWISE = frozenset(
    {"Cast", "Not", "Neg", "Mul", "Sub", "Add", "Div", "Where", "And", "Or", "Max", "Min"}
    | {"Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Identity"}
)


def is_of_keys(mask: Mask | None) -> bool:
    """Whether a mask hides the same keys from all queries, by what the graph states."""
    return mask is None or _is_row(mask.value)


def row_of(to: Writer, mask: Mask, name: str = "row") -> ir.Value:
    """A mask of keys as what is added to scores: [batch, heads, 1, keys]; see `is_of_keys`."""
    return _in_four(to, _added(to, mask, _row(to, mask.value)), name)


def of_blocks(to: Writer, mask: Mask | None, form: Form, count: ir.Value) -> ir.Value:
    """What is added to the scores of blocks: [batch, heads, blocks, block, keys of three blocks].

    Args:
        to: Where nodes are put.
        mask: Of the layer; None where nothing is hidden.
        form: The window.
        count: Tokens, [1].
    """
    if is_of_keys(mask):
        band = _along_keys(to, mask, form, count)
    else:
        assert mask is not None, "no mask is one of keys"
        band = _along_diagonal(to, mask, form, count)
    seen = to.weight("window", window_of(form))
    return to.op("Add", [band, seen], [None, None, None, form.block, 3 * form.block], "mask")


def window_of(form: Form) -> Array:
    """0 where a query of a block sees a key, HIDING elsewhere: [block, three blocks]."""
    b = form.block
    apart = np.arange(3 * b)[None, :] - form.ahead * b - np.arange(b)[:, None]
    seen = (apart >= -form.before) & (apart <= form.after)
    return np.where(seen, 0.0, HIDING).astype(np.float32)


def _along_keys(to: Writer, mask: Mask | None, form: Form, count: ir.Value) -> ir.Value:
    """[batch, heads, blocks, 1, keys of three blocks]."""
    if mask is None:
        flat = to.op("ConstantOfShape", [count], [None], "seen")
        row = to.op("Unsqueeze", [flat, to.ints("front", [0, 1, 2])], [1, 1, 1, None], "row")
    else:
        row = row_of(to, mask)
    padded = to.padded(row, 3, form, count, HIDING, "row_padded")
    apart = to.reshaped(padded, [0, 0, -1, form.block], "row_blocks")
    around = to.around(apart, form, 3, "row_around")
    return to.op(
        "Unsqueeze", [around, to.ints("queries", [3])],
        [None, None, None, 1, 3 * form.block], "row_of_blocks",
    )  # fmt: skip


def _along_diagonal(to: Writer, mask: Mask, form: Form, count: ir.Value) -> ir.Value:
    """[batch, heads, blocks, block, keys of three blocks], from all queries and keys."""
    b = form.block
    whole = _in_four(to, _added(to, mask, mask.value), "square")
    ones = to.ints("ones", [1, 1])
    square = to.op("Concat", [ones, count, count], [4], "square_sizes", INT, axis=0)
    whole = to.op("Expand", [whole, square], [None] * 4, "square")
    whole = to.padded(whole, 3, form, count, HIDING, "square_keys")
    whole = to.filled(whole, 2, form, count, HIDING, "square_queries")
    rows = to.whole(count, form)  # a multiple of blocks: b · n
    blocks = to.op("Div", [rows, to.ints("block", [b])], [1], "blocks", INT)
    surplus = to.ints("surplus", [(form.ahead + form.behind) * b])
    width = to.op("Add", [rows, surplus], [1], "width", INT)
    flat = to.reshaped(whole, [0, 0, -1], "square_flat")
    end = to.op("Concat", [to.ints("zeros", [0] * 5), rows], [6], "square_end", INT, axis=0)
    hidden = to.weight("hidden", np.array(HIDING, np.float32))
    flat = to.op("Pad", [flat, end, hidden], [None] * 3, "square_longer")
    apart = to.op(
        "Concat", [to.ints("same", [0, 0]), blocks, to.ints("rest", [-1])], [4], "block_sizes",
        INT, axis=0,
    )  # fmt: skip
    each = to.op("Reshape", [flat, apart], [None] * 4, "square_blocks")
    length = to.op("Mul", [width, to.ints("block", [b])], [1], "block_length", INT)
    start, axis = to.ints("start", [0]), to.ints("last", [3])
    each = to.op("Slice", [each, start, length, axis], [None] * 4, "block_rows")
    each = to.reshaped(each, [0, 0, 0, b, -1], "block_square")
    bounds = [to.ints("start", [0]), to.ints("keys", [3 * b]), to.ints("last_of_five", [4])]
    return to.op("Slice", [each, *bounds], [None, None, None, b, 3 * b], "diagonal")


def _added(to: Writer, mask: Mask, value: ir.Value) -> ir.Value:
    """What is added to scores for such a mask: no number below HIDING, as sums of two are built."""
    shape = sizes(value) or []
    least = to.weight("hiding", np.array(HIDING, np.float32))
    if mask.hides is None:
        known = floats(value)
        if known is not None and known.min() >= HIDING:
            return value
        return to.op("Max", [value, least], shape, "added")
    zero = to.weight("open", np.array(0.0, np.float32))
    sides = [least, zero] if mask.hides else [zero, least]
    return to.op("Where", [value, *sides], shape, "added")


def _in_four(to: Writer, value: ir.Value, name: str) -> ir.Value:
    """With ones in front, up to four axes."""
    shape = sizes(value) or []
    lacking = 4 - len(shape)
    if not lacking:
        return value
    front = to.ints("lacking", list(range(lacking)))
    return to.op("Unsqueeze", [value, front], [1] * lacking + shape, f"{name}_of_four")


def _is_row(value: ir.Value) -> bool:
    """Whether all queries have the same row of a value, of stated size 1 or expanded."""
    shape = sizes(value)
    if shape is None:
        return False
    if len(shape) < 2 or shape[-2] == 1:
        return True
    node = value.producer()
    if constant(value) is not None or node is None or node.domain != "":
        return False
    if node.op_type == "Expand":
        return _is_narrow(node.inputs[0])
    inputs = [one for one in node.inputs if one is not None]
    return node.op_type in _ELEMENTWISE and all(map(_is_row, inputs))


def _is_narrow(value: ir.Value | None) -> bool:
    """Whether an Expand of a value repeats its rows, and not its keys."""
    shape = sizes(value)
    if value is None or not shape or shape[-1] == 1:
        return False
    return _is_row(value)


def _row(to: Writer, value: ir.Value) -> ir.Value:
    """That row, computed for one query alone."""
    shape = sizes(value) or []
    if len(shape) < 2 or shape[-2] == 1:
        return value
    node = value.producer()
    assert node is not None, "it is not stated as one row"
    first = node.inputs[0]
    if node.op_type == "Expand" and first is not None:
        return _row(to, first)
    inputs = [None if one is None else _row(to, one) for one in node.inputs]
    made = to.op(node.op_type, inputs, [*shape[:-2], 1, shape[-1]], "of_keys", value.dtype or BOOL)
    written = made.producer()
    assert written is not None, "it was just written"
    for attribute in node.attributes.values():
        written.attributes[attribute.name] = attribute
    return made
