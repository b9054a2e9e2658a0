"""A per-channel affine operator in front of a linear one is folded into it, where that is exact."""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.folding.affine import AFFINE, LINEAR, Affine, affine_of
from compressor.folding.linear import Linear, linear, only_use


class FoldAffineBefore(RewriteRuleClassBase):
    """W∘(a·x + c) + b = (W·a)∘x + (b + W∘c), with one a and c per input channel.

    For Conv, ConvTranspose, Gemm and MatMul with constant weights, behind BatchNormalization, or
    behind Mul, Add, Sub, Div with a constant. A shift is folded only where every output sees the
    same part of it: not into a Conv that pads (the zeros around x are not shifted) and not into a
    ConvTranspose (its borders overlap less). A scale always is.

    Not folded: what other nodes read too, an operand that enlarges the data, a transposed left
    operand of Gemm, a bare shift in front of MatMul (it would only move behind it).

    Args:
        before: The affine operator.
        kind: The linear operator.
    """

    def __init__(self, before: str, kind: str) -> None:
        super().__init__(name=f"{before}+{kind}")
        self._before = before
        self._kind = kind
        self._found: tuple[Linear, Affine] | None = None

    def pattern(self, op: Any, x: Any) -> Any:
        """The linear operator; what feeds it is looked at in `check`."""
        return getattr(op, self._kind)(x, _allow_other_inputs=True, _outputs=["y"])

    def check(self, op: Any, *args: Any, **found: Any) -> MatchResult:
        """Whether an affine operator feeds a linear one and nothing else."""
        del op, args
        x, node, result = found["x"], found["y"].producer(), MatchResult()
        before = None if x is None else x.producer()
        matches = before is not None and before.op_type == self._before and only_use(x)
        self._found = _find(node, before) if matches and node is not None else None
        return result if self._found else result.fail("not an affine operator and a linear one")

    def rewrite(self, op: Any, *args: Any, **others: Any) -> ir.Value | None:
        """The linear operator alone, reading what the affine one read."""
        del args, others
        if self._found is None:
            return None
        found, affine = self._found
        scale = None if affine.only_shifts else found.per_input(affine.scale)
        bias = found.bias
        if not affine.only_scales:
            bias = found.response(affine.shift) + (0 if bias is None else bias)
        return found.emit(op, scale, bias, reading=affine.data)


def _find(node: ir.Node, before: ir.Node | None) -> tuple[Linear, Affine] | None:
    found = linear(node)
    if found is None or before is None or node.attributes.get_int("transA", 0) == 1:
        return None
    affine = affine_of(before, found.axis, found.rank, found.channels_in)
    if affine is None or not affine.finite or not _same_extent(affine.data, found):
        return None
    if affine.only_scales:
        return found, affine
    exact = found.kind != "ConvTranspose" and not found.pads
    pointless = found.kind == "MatMul" and affine.only_shifts
    return (found, affine) if exact and not pointless else None


def _same_extent(data: ir.Value, found: Linear) -> bool:
    # Broadcasting with the constant must not be what gives the data its rank or its channels.
    shape = data.shape
    if shape is None or found.rank is None or len(shape) != found.rank:
        return False
    return shape[found.axis] == found.channels_in


def rules() -> Iterator[RewriteRule]:
    """One rule for every pair of operators."""
    for before in AFFINE:
        for kind in LINEAR:
            yield FoldAffineBefore.rule(before, kind)  # type: ignore[no-untyped-call]
