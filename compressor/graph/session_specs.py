"""What a session of ONNX Runtime takes and gives; neither graph nor runtime is loaded for it."""

from typing import Any

import numpy as np

from compressor.graph.tensors import TensorSpec

_NAMES = {"float": "float32", "double": "float64"}


def session_specs(session: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and the outputs of a session, in order.

    The runtime writes types as "tensor(float)" and open sizes as strings. What NumPy has no type
    for is an object.
    """
    taken, given = session.get_inputs(), session.get_outputs()
    return tuple(map(_spec, taken)), tuple(map(_spec, given))


def _spec(argument: Any) -> TensorSpec:
    kind = argument.type.removeprefix("tensor(").removesuffix(")")
    try:
        dtype = np.dtype(_NAMES.get(kind, kind))
    except TypeError:
        dtype = np.dtype(object)
    return TensorSpec(argument.name, dtype, tuple(argument.shape or ()))
