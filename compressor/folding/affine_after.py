"""A per-channel affine operator behind a linear one is folded into it."""

from collections.abc import Iterator
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase
from onnxscript.rewriter._basics import MatchFailureError

from compressor.folding.affine import AFFINE, Affine, AffineOperator, affine_of
from compressor.folding.linear import LINEAR, Linear, linear_of


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
        linear: The linear operator.
        affine: The affine operator.
        add: Whether an Add brings the bias of a MatMul.
    """

    def __init__(self, linear: str, affine: AffineOperator, *, add: bool = False) -> None:
        super().__init__(name=f"{linear}+{affine.op_type}")
        self._linear = linear
        self._affine = affine
        self._add = add

    def pattern(self, op: Any, x: Any, b: Any, c: Any) -> Any:
        """affine(linear(x, ...), c), or affine(Add(MatMul(x, ...), b), c)."""
        output = None if self._add else "y"
        y = getattr(op, self._linear)(x, _allow_other_inputs=True, _outputs=[output])
        if self._add:
            y = op.Add(y, b, _outputs=["y"])
        return self._affine.draw(op, y, c, output="z")

    def check(self, op: Any, y: ir.Value, z: ir.Value, **others: Any) -> MatchResult:
        """Whether weights and operands are constants that fit, and something is gained."""
        del op, others
        _read(y, z)
        return MatchResult()

    def rewrite(self, op: Any, y: ir.Value, z: ir.Value, **others: Any) -> ir.Value:
        """The linear operator alone, with other weights."""
        del others
        linear, affine = _read(y, z)
        scale = None if affine.only_shifts else linear.per_output(affine.scale)
        if linear.bias is None:
            bias = None if affine.only_scales else affine.shift
        else:
            bias = affine.scale * linear.bias + affine.shift
        return linear.emit(op, scale, bias)


def _read(y: ir.Value, z: ir.Value) -> tuple[Linear, Affine]:
    """The linear operator that writes y, and the affine one that makes z of it.

    Raises:
        MatchFailureError: Either is not of constants that fit.
    """
    linear, node = linear_of(y), z.producer()
    assert node is not None, "a pattern's output is computed"
    affine = affine_of(node, y, linear.axis, linear.rank, linear.channels_out)
    if linear.kind == "MatMul" and linear.add is None and affine.only_shifts:
        raise MatchFailureError("a bias behind MatMul stays an Add", node)
    return linear, affine


def rules() -> Iterator[RewriteRule]:
    """One rule for every pair of operators, and for every order of operands that commute."""
    for affine in AFFINE:
        for linear in LINEAR:
            yield from FoldAffineAfter.rule(linear, affine).commute()  # type: ignore[no-untyped-call]
        with_bias = FoldAffineAfter.rule("MatMul", affine, add=True)  # type: ignore[no-untyped-call]
        yield from with_bias.commute()
