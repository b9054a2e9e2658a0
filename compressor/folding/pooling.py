"""A mean over all of space is a global average pooling."""

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from compressor.graph.constants import constant


class MeanToGlobalAveragePool(RewriteRuleClassBase):
    """ReduceMean over axes 2 to the last is GlobalAveragePool, flattened where they are dropped.

    Exporters write adaptive pooling to size 1 as a mean, and runtimes have the integer kernel for
    the pooling only. For floating-point data of rank 3 and above.
    """

    def __init__(self) -> None:
        super().__init__(name="ReduceMean to GlobalAveragePool")

    def pattern(self, op: Any, x: Any) -> Any:
        """ReduceMean(x, ...), whose axes are an input since opset 18 and an attribute before."""
        return op.ReduceMean(x, _allow_other_inputs=True, _outputs=["y"])

    def check(self, op: Any, x: ir.Value, y: ir.Value) -> MatchResult:
        """Whether the axes are exactly those behind the channels of floating-point data."""
        del op
        node, result = y.producer(), MatchResult()
        assert node is not None, "a pattern's output is computed"
        if x.shape is None or x.dtype is None:
            return result.fail("the rank or the type is not known", x)
        rank, axes = len(x.shape), _axes(node)
        if not x.dtype.is_floating_point():
            return result.fail(f"the data are {x.dtype.name}", x)
        if rank < 3:
            return result.fail(f"data of rank {rank} have no space behind their channels", x)
        if axes is None:
            return result.fail("the axes are not constant, or all of them", node)
        if sorted(axis % rank for axis in axes) != list(range(2, rank)):
            return result.fail(f"the axes {axes} are not those of space", node)
        return result

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value) -> ir.Value:
        """The pooling."""
        node = y.producer()
        assert node is not None, "a pattern's output is computed"
        pooled: ir.Value = op.GlobalAveragePool(x, _name=node.name)
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
