"""Arithmetic that changes nothing."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.folding.affine import constant

_NEUTRAL = {"Mul": 1, "Add": 0, "Sub": 0, "Div": 1}


class RemoveNeutral(RewriteRuleClassBase):
    """x·1 = x + 0 = x - 0 = x / 1 = x, for a constant that is exactly neutral.

    Upstream's rule takes 1e-9 for 0, so that the ε which keeps a norm from dividing by zero goes.
    The constant may have any shape that does not enlarge x; -0.0 counts as 0 (x + -0.0 = x).
    """

    def __init__(self, op_type: str) -> None:
        super().__init__(name=f"neutral {op_type} removed")
        self._op_type = op_type
        self._data: ir.Value | None = None

    def pattern(self, op: Any, x: Any) -> Any:
        """The operator; which operand is the constant is looked at in `check`."""
        return getattr(op, self._op_type)(x, _allow_other_inputs=True, _outputs=["y"])

    def check(self, op: Any, *args: Any, **found: Any) -> MatchResult:
        """Whether one operand is a neutral constant of no more extent than the other."""
        del op, args
        node, result = found["y"].producer(), MatchResult()
        left, right = node.inputs if node is not None else (None, None)
        self._data = None
        if _is_neutral(right, left, _NEUTRAL[self._op_type]):
            self._data = left
        elif self._op_type in ("Mul", "Add") and _is_neutral(left, right, _NEUTRAL[self._op_type]):
            self._data = right
        return result if self._data is not None else result.fail("no neutral constant")

    def rewrite(self, op: Any, *args: Any, **others: Any) -> Any:
        """An Identity, which a later pass removes."""
        del args, others
        return op.Identity(self._data)


def rules() -> Iterator[RewriteRule]:
    """One rule for every operator."""
    for op_type in _NEUTRAL:
        yield RemoveNeutral.rule(op_type)  # type: ignore[no-untyped-call]


def _is_neutral(operand: ir.Value | None, data: ir.Value | None, neutral: int) -> bool:
    tensor = constant(operand)
    if tensor is None or data is None or tensor.dtype.is_string() or tensor.size == 0:
        return False
    if _enlarges([int(size) for size in tensor.shape.numpy()], data.shape):
        return False
    array = tensor.numpy()
    return bool(array.flat[0] == neutral and np.all(array == neutral))


def _enlarges(extent: list[int], shape: ir.Shape | None) -> bool:
    """Whether broadcasting with a constant gives the data more elements or a higher rank."""
    if not extent:
        return False
    if shape is None or len(extent) > len(shape):
        return True
    sizes = reversed(list(shape))
    return any(size not in (1, has) for size, has in zip(reversed(extent), sizes, strict=False))
