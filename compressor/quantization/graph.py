"""Small questions about nodes and values that placement and rewriting both ask."""

import math

import onnx_ir as ir

from compressor.graph.constants import scalar

QDQ = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""The operators at the boundary of integers and floats."""


def absorbed_bounds(node: ir.Node) -> tuple[float, float] | None:
    """The interval that Relu or Clip maps into; None when its bounds are not constants."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    inputs = [*node.inputs, None, None]
    low, high = scalar(inputs[1], -math.inf), scalar(inputs[2], math.inf)
    return None if low is None or high is None else (low, high)


def consumers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the value, each once."""
    return list(dict.fromkeys(value.consumers()))


def fixed_elements(value: ir.Value) -> int | None:
    """Elements of one sample: symbolic dimensions count as 1; None when the rank is unknown."""
    if value.shape is None:
        return None
    return math.prod(d if isinstance(d, int) else 1 for d in value.shape)
