"""A mean over all of space is a global average pooling."""

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.folding.affine import constant


class MeanToGlobalAveragePool(RewriteRuleClassBase):
    """ReduceMean over axes 2 to the last is GlobalAveragePool, flattened where they are dropped.

    Exporters write adaptive pooling to size 1 as a mean, and runtimes have the integer kernel for
    the pooling only. For floating-point data of rank 3 and above.
    """

    def __init__(self) -> None:
        super().__init__(name="ReduceMean to GlobalAveragePool")

    def pattern(self, op: Any, x: Any) -> Any:
        """The mean; its axes are looked at in `check`."""
        return op.ReduceMean(x, _allow_other_inputs=True, _outputs=["y"])

    def check(self, op: Any, *args: Any, **found: Any) -> MatchResult:
        """Whether the axes are exactly those behind the channels."""
        del op, args
        x, node, result = found["x"], found["y"].producer(), MatchResult()
        if node is None or x is None or x.shape is None or x.dtype is None:
            return result.fail("the rank is not known")
        rank = len(x.shape)
        axes = _axes(node)
        if axes is None or rank < 3:
            return result.fail("not a mean over space")
        spatial = sorted(axis % rank for axis in axes) == list(range(2, rank))
        return result if spatial and x.dtype.is_floating_point() else result.fail("other axes")

    def rewrite(self, op: Any, *args: Any, **found: Any) -> ir.Value:
        """The pooling."""
        del args
        node = found["y"].producer()
        pooled: ir.Value = op.GlobalAveragePool(found["x"], _name=node.name)
        if node.attributes.get_int("keepdims", 1):
            return pooled
        flat: ir.Value = op.Flatten(pooled, axis=1, _name=f"{node.name}_flatten")
        return flat


def rules() -> tuple[RewriteRule, ...]:
    """The rule."""
    return (MeanToGlobalAveragePool.rule(),)  # type: ignore[no-untyped-call]


def _axes(node: ir.Node) -> list[int] | None:
    """The constant axes: an input since opset 18, an attribute before; None for all axes."""
    attribute = node.attributes.get_ints("axes", None)
    if attribute is not None:
        return list(attribute)
    tensor = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    return None if tensor is None else [int(axis) for axis in tensor.numpy().reshape(-1)]
