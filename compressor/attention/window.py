"""Attention in a window, block by block: T · 3 b products of rows in place of T · T.

Queries of a block of b tokens meet the keys of three blocks: their own, and those around it, or of
causal attention the two before (Beltagy, Peters and Cohan 2020, "Longformer", arXiv 2004.05150,
section 3.1; the blocks as in its appendix A). Within them

    y_i = Σ_j softmax_j(c · q_i k_j + M_ij + W_ij) v_j,   W_ij = 0 if -before ≤ j - i ≤ after

so that a token sees those of its window and no others. The tokens that lack to whole blocks, and
those before the first and behind the last, are hidden.
"""

import numpy as np
import onnx_ir as ir

from compressor.attention.forms import Form
from compressor.attention.writing import Writer
from compressor.graph.cores import Core
from compressor.graph.matching import sizes


def windowed(to: Writer, core: Core, form: Form, count: ir.Value, mask: ir.Value) -> ir.Value:
    """[batch, heads, tokens, width of values].

    Args:
        to: Where nodes are put.
        core: The layer.
        form: The window.
        count: Tokens, [1].
        mask: From `masks.of_blocks`.
    """
    b, heads, width = form.block, core.heads, core.width
    q_sizes, v_sizes = sizes(core.q) or [], sizes(core.v) or []
    batch, deep = q_sizes[0], v_sizes[3]
    factor = to.weight("scale", np.array(core.scale, np.float32))
    scaled = to.op("Mul", [core.q, factor], q_sizes, "scaled")
    q = to.reshaped(to.filled(scaled, 2, form, count, 0.0, "q"), [0, 0, -1, b, width], "q_blocks")
    k = _around(to, to.keys(core), form, count, width, "k")
    v = _around(to, core.v, form, count, deep or 0, "v")
    turned = to.op(
        "Transpose", [k], [batch, heads, None, width, 3 * b], "k_turned", perm=[0, 1, 2, 4, 3]
    )
    scores = to.op("MatMul", [q, turned], [batch, heads, None, b, 3 * b], "scores")
    masked = to.op("Add", [scores, mask], [batch, heads, None, b, 3 * b], "masked")
    shares = to.op("Softmax", [masked], [batch, heads, None, b, 3 * b], "shares", axis=-1)
    mixed = to.op("MatMul", [shares, v], [batch, heads, None, b, deep], "mixed")
    joined = to.reshaped(mixed, [0, 0, -1, deep or 0], "joined")
    bounds = [to.ints("start", [0]), count, to.ints("token_axis", [2])]
    return to.op("Slice", [joined, *bounds], [batch, heads, q_sizes[2], deep], "window")


def _around(
    to: Writer, value: ir.Value, form: Form, count: ir.Value, width: int, name: str
) -> ir.Value:
    """Keys or values of three blocks: [batch, heads, blocks, 3 · block, width]."""
    padded = to.padded(value, 2, form, count, 0.0, name)
    apart = to.reshaped(padded, [0, 0, -1, form.block, width], f"{name}_blocks")
    return to.around(apart, form, 3, f"{name}_around")
