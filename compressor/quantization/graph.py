"""Small questions about nodes and values that placement and rewriting both ask."""

import math

import onnx_ir as ir


def constant(value: ir.Value) -> ir.TensorProtocol | None:
    """The tensor of an initializer that no caller can override, else None."""
    if value.is_initializer() and not value.is_graph_input():
        return value.const_value
    made_by = value.producer()
    if made_by is not None and made_by.op_type == "Constant":
        return ir.convenience.get_const_tensor(value)
    return None


def scalar(value: ir.Value | None, default: float) -> float | None:
    """The number in an optional constant input: `default` when absent, None when not constant."""
    if value is None:
        return default
    tensor = constant(value)
    if tensor is None or tensor.size != 1:
        return None
    return float(tensor.numpy().reshape(()))


def absorbed_bounds(node: ir.Node) -> tuple[float, float] | None:
    """The interval that Relu or Clip maps into; None when its bounds are not constants."""
    if node.op_type == "Relu":
        return 0.0, math.inf
    inputs = [*node.inputs, None, None]
    low, high = scalar(inputs[1], -math.inf), scalar(inputs[2], math.inf)
    return None if low is None or high is None else (low, high)


def producer(value: ir.Value) -> ir.Node | None:
    """The node that writes the value; None for graph inputs and initializers."""
    return value.producer()


def consumers(value: ir.Value) -> list[ir.Node]:
    """The nodes that read the value, each once."""
    return list(dict.fromkeys(value.consumers()))


def output(node: ir.Node) -> ir.Value:
    """The first output."""
    return node.outputs[0]


def fixed_elements(value: ir.Value) -> int | None:
    """Elements of one sample: symbolic dimensions count as 1; None when the rank is unknown."""
    if value.shape is None:
        return None
    return math.prod(d if isinstance(d, int) else 1 for d in value.shape)
