"""Arithmetic that changes nothing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.graph.constants import constant

_NEUTRAL = {"Mul": 1, "Add": 0, "Sub": 0, "Div": 1}


class RemoveNeutral(RewriteRuleClassBase):
    """x·1 = x + 0 = x - 0 = x / 1 = x, for a constant that is exactly neutral.

    Upstream's rule takes 1e-9 for 0, so that the ε which keeps a norm from dividing by zero goes.
    The constant may have any shape that does not enlarge x; -0.0 counts as 0 (x + -0.0 = x).
    """

    def __init__(self, op_type: str) -> None:
        super().__init__(name=f"neutral {op_type} removed")
        self._op_type = op_type

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        """Mul(x, c), Add(x, c), Sub(x, c) or Div(x, c)."""
        return getattr(op, self._op_type)(x, c)

    def check(self, op: Any, x: ir.Value, c: ir.Value) -> MatchResult:
        """Whether c is a neutral constant of no more extent than x."""
        del op
        tensor, neutral, result = constant(c), _NEUTRAL[self._op_type], MatchResult()
        if tensor is None or tensor.dtype.is_string() or tensor.size == 0:
            return result.fail("it is not a constant number", c)
        if _enlarges([int(size) for size in tensor.shape.numpy()], x.shape):
            return result.fail("the constant may enlarge the data", c)
        array = tensor.numpy()
        if not (array.flat[0] == neutral and np.all(array == neutral)):
            return result.fail(f"the constant is not {neutral} throughout", c)
        return result

    def rewrite(self, op: Any, x: ir.Value, c: ir.Value) -> ir.Value:
        """An Identity, which a later pass removes."""
        del c
        identity: ir.Value = op.Identity(x)
        return identity


def rules() -> Iterator[RewriteRule]:
    """One rule for every operator, and for either order of Mul and Add."""
    for op_type in _NEUTRAL:
        yield from RemoveNeutral.rule(op_type).commute()  # type: ignore[no-untyped-call]


def _enlarges(extent: list[int], shape: ir.Shape | None) -> bool:
    """Whether broadcasting with a constant gives the data more elements or a higher rank."""
    if not extent:
        return False
    if shape is None or len(extent) > len(shape):
        return True
    sizes = reversed(list(shape))
    return any(size not in (1, has) for size, has in zip(reversed(extent), sizes, strict=False))
