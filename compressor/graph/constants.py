"""What a value holds when it is known before the graph runs."""

import onnx_ir as ir


def constant(value: ir.Value, *, overridable: bool = False) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant node, else None.

    Args:
        value: Any value of the graph.
        overridable: Whether an initializer that is also an input counts. A caller may override
            it in ONNX Runtime; TensorRT takes it for a constant.
    """
    if value.is_initializer() and (overridable or not value.is_graph_input()):
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
