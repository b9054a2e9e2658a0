"""Weights that a file lists among its inputs, with their values as defaults.

Exporters of old listed every weight so, some still do (`keep_initializers_as_inputs`), and nobody
gives them. An input that may be given stays one: what the data or `--input` names, and a number or
a setting that is listed where weights are not.
"""

from collections.abc import Collection

import onnx_ir as ir

MOST = 0.5
"""Share of the initializers above which all that are listed are taken for weights."""


def take_weights_in(model: ir.Model, given: Collection[str]) -> tuple[str, ...]:
    """Make constants of weights that are listed as inputs, in place.

    Args:
        model: The model.
        given: Names of inputs that somebody gives, which stay.

    Returns:
        What the user should know.
    """
    listed = [value for value in model.graph.inputs if value.is_initializer()]
    all_are = len(listed) > MOST * len(model.graph.initializers)
    taken = [v for v in listed if v.name not in given and (all_are or _is_weight(v))]
    if not taken:
        return ()
    gone = set(taken)
    kept = [value for value in model.graph.inputs if value not in gone]
    model.graph.inputs.clear()
    model.graph.inputs.extend(kept)
    of = f"{len(taken)} of {len(model.graph.initializers)} weights"
    return (
        f"{of} were listed as inputs with their values as defaults: they are constants of the "
        "artifact, which no longer takes others in their place",
    )


def _is_weight(value: ir.Value) -> bool:
    """Whether it is more than a number or a few sizes."""
    tensor = value.const_value
    return tensor is not None and tensor.dtype.is_floating_point() and len(tensor.shape) > 1
