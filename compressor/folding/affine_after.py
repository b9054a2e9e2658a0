"""A per-channel affine operator behind a linear one is folded into it."""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.folding.affine import AFFINE, LINEAR, Affine, affine_of
from compressor.folding.linear import Linear, linear_of


class FoldAffineAfter(RewriteRuleClassBase):
    """a·(W∘x + b) + c = (a·W)∘x + (a·b + c), with one a and c per output channel.

    For Conv, ConvTranspose, Gemm, MatMul and MatMul + Add with constant weights, followed by
    BatchNormalization, or by Mul, Add, Sub, Div with a constant. Upstream folds BatchNorm only,
    also in training mode, and lets the changed weight keep the name of the checkpoint's
    parameter; here it is called `<name>_folded`, and a weight that other nodes read stays as it is
    while this node gets its own.

    Not folded: an intermediate value that is read elsewhere or is an output of the graph; an
    operand that is not one number per channel, that would enlarge the result or that a caller can
    override; a result that is not finite.

    Args:
        kind: The linear operator.
        after: The affine operator.
    """

    def __init__(self, kind: str, after: str) -> None:
        super().__init__(name=f"{kind}+{after}")
        self._kind = kind
        self._after = after
        self._found: tuple[Linear, Affine] | None = None

    def pattern(self, op: Any, y: Any) -> Any:
        """The affine operator; what it reads is looked at in `check`."""
        return getattr(op, self._after)(y, _allow_other_inputs=True, _outputs=["z"])

    def check(self, op: Any, *args: Any, **found: Any) -> MatchResult:
        """Whether a linear operator feeds an affine one and nothing else."""
        del op, args
        node, result = found["z"].producer(), MatchResult()
        self._found = None if node is None else self._find(node)
        return result if self._found else result.fail("not a linear operator and an affine one")

    def rewrite(self, op: Any, *args: Any, **others: Any) -> ir.Value | None:
        """The linear operator alone, with other weights."""
        del args, others
        if self._found is None:
            return None
        linear, affine = self._found
        scale = None if affine.only_shifts else linear.per_output(affine.scale)
        if linear.bias is None:
            bias = None if affine.only_scales else affine.shift
        else:
            bias = affine.scale * linear.bias + affine.shift
        return linear.emit(op, scale, bias)

    def _find(self, node: ir.Node) -> tuple[Linear, Affine] | None:
        for value in node.inputs[:2]:
            linear = linear_of(value, self._kind)
            if linear is None:
                continue
            affine = affine_of(node, linear.axis, linear.rank, linear.channels_out)
            if affine is None or affine.data is not value or not affine.finite:
                continue
            gains = linear.kind != "MatMul" or linear.add is not None or not affine.only_shifts
            return (linear, affine) if gains else None
        return None


def rules() -> Iterator[RewriteRule]:
    """One rule for every pair of operators."""
    for after in AFFINE:
        for kind in LINEAR:
            yield FoldAffineAfter.rule(kind, after)  # type: ignore[no-untyped-call]
