"""MatMul and a bias become one Gemm."""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.folding.linear import linear_of


class MatMulAddToGemm(RewriteRuleClassBase):
    """X·W + b = Gemm(X, W, b) for X of rank 2, a constant matrix W and a constant vector b.

    Upstream's rule of that name accepts any third operand, also one that enlarges the sum, which
    Gemm's one-way broadcast does not allow.
    """

    def __init__(self) -> None:
        super().__init__(name="MatMul+Add to Gemm")

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        """Add(MatMul(x, w), b), in either order."""
        return op.Add(op.MatMul(x, w, _outputs=["product"]), b, _outputs=["y"])

    def check(self, op: Any, y: ir.Value, **others: Any) -> MatchResult:
        """Whether w is a constant matrix, b a constant vector and x of rank 2."""
        del op, others
        linear, result = linear_of(y), MatchResult()
        return result if linear.rank == 2 else result.fail("x is not of rank 2", linear.node)

    def rewrite(
        self,
        op: Any,
        x: ir.Value,
        w: ir.Value,
        b: ir.Value,
        product: ir.Value,
        **others: Any,
    ) -> ir.Value:
        """The Gemm, with the same weights."""
        del others
        matmul = product.producer()
        assert matmul is not None, "a pattern's inner value is computed"
        gemm: ir.Value = op.Gemm(x, w, b, _name=matmul.name or "MatMul")
        return gemm


def rules() -> Iterator[RewriteRule]:
    """The rule, for either order of the sum."""
    yield from MatMulAddToGemm.rule().commute()  # type: ignore[no-untyped-call]
