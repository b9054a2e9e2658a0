"""A per-channel affine operator in front of a linear one is folded into it, where that is exact."""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase
from onnxscript.rewriter._basics import MatchFailureError

from compressor.folding.affine import AFFINE, Affine, AffineOperator, affine_of
from compressor.folding.linear import LINEAR, Linear, linear_of


class FoldAffineBefore(RewriteRuleClassBase):
    """W∘(a·x + c) + b = (W·a)∘x + (b + W∘c), with one a and c per input channel.

    For Conv, ConvTranspose, Gemm and MatMul with constant weights, behind BatchNormalization, or
    behind Mul, Add, Sub, Div with a constant. A shift is folded only where every output sees the
    same part of it: not into a Conv that pads (the zeros around x are not shifted) and not into a
    ConvTranspose (its borders overlap less). A scale always is.

    Not folded: what other nodes read too, an operand that enlarges the data, a transposed left
    operand of Gemm, a bare shift in front of MatMul (it would only move behind it).

    Args:
        affine: The affine operator.
        linear: The linear operator.
    """

    def __init__(self, affine: AffineOperator, linear: str) -> None:
        super().__init__(name=f"{affine.op_type}+{linear}")
        self._affine = affine
        self._linear = linear

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        """linear(affine(x, c), ...)."""
        h = self._affine.draw(op, x, c, output="h")
        return getattr(op, self._linear)(h, _allow_other_inputs=True, _outputs=["y"])

    def check(self, op: Any, x: ir.Value, h: ir.Value, y: ir.Value, **others: Any) -> MatchResult:
        """Whether weights and operands are constants that fit, and the fold is exact."""
        del op, others
        _read(x, h, y)
        return MatchResult()

    def rewrite(self, op: Any, x: ir.Value, h: ir.Value, y: ir.Value, **others: Any) -> ir.Value:
        """The linear operator alone, reading what the affine one read."""
        del others
        affine, linear = _read(x, h, y)
        scale = None if affine.only_shifts else linear.per_input(affine.scale)
        bias = linear.bias
        if not affine.only_scales:
            bias = linear.response(affine.shift) + (0 if bias is None else bias)
        return linear.emit(op, scale, bias, reading=x)


def _read(x: ir.Value, h: ir.Value, y: ir.Value) -> tuple[Affine, Linear]:
    """The affine operator that makes h of x, and the linear one that makes y of that.

    Raises:
        MatchFailureError: Either is not of constants that fit, or the fold would not be exact.
    """
    linear, node = linear_of(y), h.producer()
    assert node is not None, "a pattern's inner value is computed"
    if linear.node.attributes.get_int("transA", 0) == 1:
        raise MatchFailureError("Gemm transposes its left operand", linear.node)
    affine = affine_of(node, x, linear.axis, linear.rank, linear.channels_in)
    if not _has_the_extent(x, linear):
        raise MatchFailureError("the constant may give the data its rank or its channels", node)
    if affine.only_scales:
        return affine, linear
    if linear.kind == "ConvTranspose" or linear.pads:
        raise MatchFailureError("outputs at the border see less of a shift", linear.node)
    if linear.kind == "MatMul" and affine.only_shifts:
        raise MatchFailureError("a shift in front of MatMul would only move behind it", node)
    return affine, linear


def _has_the_extent(data: ir.Value, linear: Linear) -> bool:
    # Broadcasting with the constant must not be what gives the data its rank or its channels.
    shape = data.shape
    if shape is None or linear.rank is None or len(shape) != linear.rank:
        return False
    return shape[linear.axis] == linear.channels_in


def rules() -> Iterator[RewriteRule]:
    """One rule for every pair of operators, and for every order of operands that commute."""
    for affine in AFFINE:
        for linear in LINEAR:
            yield from FoldAffineBefore.rule(affine, linear).commute()  # type: ignore[no-untyped-call]
