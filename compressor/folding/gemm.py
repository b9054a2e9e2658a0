"""MatMul and a bias become one Gemm."""

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.folding.affine import constant
from compressor.folding.linear import matmul_with_bias, take_name


class MatMulAddToGemm(RewriteRuleClassBase):
    """X·W + b = Gemm(X, W, b) for X of rank 2, a constant matrix W and a constant vector b.

    Upstream's rule of that name accepts any third operand, also one that enlarges the sum, which
    Gemm's one-way broadcast does not allow.
    """

    def __init__(self) -> None:
        super().__init__(name="MatMul+Add to Gemm")

    def pattern(self, op: Any, y: Any) -> Any:
        """The Add; either operand may be the MatMul."""
        return op.Add(y, _allow_other_inputs=True, _outputs=["z"])

    def check(self, op: Any, *args: Any, **found: Any) -> MatchResult:
        """Whether a MatMul of rank 2 is one operand and a constant vector the other."""
        del op, args
        add, result = found["z"].producer(), MatchResult()
        product = None if add is None else matmul_with_bias(add)
        if product is None or product.rank != 2:
            return result.fail("not a matrix product and a constant vector")
        return result

    def rewrite(self, op: Any, *args: Any, **found: Any) -> ir.Value | None:
        """The Gemm, with the same weights."""
        del args
        add = found["z"].producer()
        left, right = add.inputs if add is not None else (None, None)
        product, bias = (right, left) if constant(left) is not None else (left, right)
        matmul = None if product is None else product.producer()
        if matmul is None:
            return None
        gemm: ir.Value = op.Gemm(*matmul.inputs, bias, _name=take_name(matmul))
        return gemm


def rules() -> tuple[RewriteRule, ...]:
    """The rule."""
    return (MatMulAddToGemm.rule(),)  # type: ignore[no-untyped-call]
