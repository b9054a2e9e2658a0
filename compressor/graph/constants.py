"""What a value holds when it is known before the graph runs."""

from typing import Any

import numpy.typing as npt
import onnx_ir as ir


def constant(value: ir.Value | None, *, overridable: bool = False) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant node, else None.

    Args:
        value: Any value of the graph; None for an optional input that is left out.
        overridable: Whether an initializer that is also an input counts. A caller may override
            it in ONNX Runtime; TensorRT takes it for a constant.
    """
    if value is None:
        return None
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


def is_stored(value: ir.Value | None) -> bool:
    """Whether a value is an initializer that no caller can override: a weight one may edit."""
    return value is not None and value.is_initializer() and not value.is_graph_input()


def stored_array(value: ir.Value | None) -> npt.NDArray[Any]:
    """The array of an initializer.

    Raises:
        AssertionError: The value holds none.
    """
    assert value is not None, "an initializer was expected, found no value"
    assert value.const_value is not None, f"{value.name!r} is no initializer"
    array: npt.NDArray[Any] = value.const_value.numpy()
    return array


def array_if_stored(value: ir.Value | None) -> npt.NDArray[Any] | None:
    """The array of an initializer that no caller can override, else None."""
    return stored_array(value) if is_stored(value) else None
