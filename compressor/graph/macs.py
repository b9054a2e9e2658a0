"""Multiply-accumulate operations of one node from the shapes of what it reads and writes.

`_FORMULAS` maps an operator to its formula. Float operators and their integer forms share one, so
that quantizing a graph does not change the count.
"""

from collections.abc import Callable, Sequence
from math import prod

import onnx_ir as ir

Shape = tuple[int, ...]
Shapes = Sequence[Shape | None]
"""Shapes by position; None for an input that is left out."""

_Formula = Callable[[ir.Node, Shapes, Shapes], int | None]


def node_macs(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
    """Multiply-accumulates of one node: 0 when it has none, None when there is no formula.

    Args:
        node: Any node.
        inputs: Shapes of its inputs.
        outputs: Shapes of its outputs.
    """
    formula = _formula(node)
    return 0 if formula is None else formula(node, inputs, outputs)


def carries_macs(node: ir.Node) -> bool:
    """Whether a node's work is counted in multiply-accumulates."""
    return _formula(node) is not None


def _formula(node: ir.Node) -> _Formula | None:
    if node.op_type == "Attention":
        return _attention(past=4) if node.domain == "" else _projected_attention(past=4)
    return _FORMULAS.get(node.op_type)


def _conv(weight: int) -> _Formula:
    """Every output element sums over `C_in / group × kernel`: W is (C_out, C_in / group, …)."""

    def formula(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
        del node
        w, y = inputs[weight], outputs[0]
        return None if w is None or y is None else prod(y) * prod(w[1:])

    return formula


def _conv_transpose(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
    """Each input element spreads over `C_out / group × kernel`: W is (C_in, C_out / group, …)."""
    del node, outputs
    x, w = inputs[0], inputs[1]
    return None if x is None or w is None else prod(x) * prod(w[1:])


def _matmul(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
    """Every output element sums over K: the left operand's last size, transposed the one before."""
    a, y = inputs[0], outputs[0]
    if a is None or y is None:
        return None
    transposed = node.attributes.get_int("transA", 0) and len(a) > 1
    return prod(y) * a[-2 if transposed else -1]


def _einsum(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
    """The product of all index sizes, for two operands without an ellipsis."""
    del outputs
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    if len(terms) == 1:
        return 0
    if len(terms) > 2 or "." in equation:
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=False):
        if shape is None:
            return None
        for label, size in zip(term, shape, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    return prod(sizes.values())


def _recurrent(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
    """Each weight of W and R of each direction is used once at every step of every sequence."""
    del node, outputs
    x, w, r = inputs[0], inputs[1], inputs[2]
    return None if x is None or w is None or r is None else x[0] * x[1] * (prod(w) + prod(r))


def _projected_attention(past: int) -> _Formula:
    """The projection X·W, then S·S scores of every head and their sum over the values.

    X is (B, S, D), W is (D, H_q + H_k + H_v) with H_q = H_k; a past is not counted.
    """

    def formula(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
        x, w, y = inputs[0], inputs[1], outputs[0]
        if x is None or w is None or y is None or _present(node, past):
            return None
        query_width = (w[1] - y[-1]) // 2
        return prod(x[:2]) * prod(w) + prod(x[:2]) * x[1] * (query_width + y[-1])

    return formula


def _attention(past: int) -> _Formula:
    """Scores Q·Kᵀ and their sum over V: each element of Q and of the output meets L keys.

    Q is (B, S, H) or (B, heads, S, h); L is the last size but one of K. A past is not counted.
    """

    def formula(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
        q, k, y = inputs[0], inputs[1] if len(inputs) > 1 else None, outputs[0]
        if q is None or k is None or y is None or len(k) not in (3, 4) or _present(node, past):
            return None
        return k[-2] * (prod(q) + prod(y))

    return formula


def _present(node: ir.Node, index: int) -> bool:
    return len(node.inputs) > index and node.inputs[index] is not None


def _uncounted(node: ir.Node, inputs: Shapes, outputs: Shapes) -> int | None:
    """Work that is there but depends on more than shapes."""
    del node, inputs, outputs
    return None


_FORMULAS: dict[str, _Formula] = {
    "Conv": _conv(1),
    "FusedConv": _conv(1),
    "ConvInteger": _conv(1),
    "QLinearConv": _conv(3),
    "ConvTranspose": _conv_transpose,
    "Gemm": _matmul,
    "FusedGemm": _matmul,
    "QGemm": _matmul,
    "MatMul": _matmul,
    "FusedMatMul": _matmul,
    "MatMulInteger": _matmul,
    "MatMulIntegerToFloat": _matmul,
    "DynamicQuantizeMatMul": _matmul,
    "MatMulNBits": _matmul,
    "QLinearMatMul": _matmul,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "DynamicQuantizeLSTM": _recurrent,
    "QAttention": _projected_attention(past=8),
    "MultiHeadAttention": _attention(past=6),
    "DeformConv": _uncounted,
    "GroupQueryAttention": _uncounted,
    "DecoderMaskedMultiHeadAttention": _uncounted,
    "PackedAttention": _uncounted,
    "PackedMultiHeadAttention": _uncounted,
    "SparseAttention": _uncounted,
    "MoE": _uncounted,
    "QMoE": _uncounted,
}
"""Operator → formula, whatever its domain; `Attention` means two things by domain."""
