"""Other numbers in the initializers of a graph."""

import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.tensors import Array, Arrays


def with_weights(model: ir.Model, weights: Arrays) -> ir.Model:
    """The graph with those numbers in initializers of these names; `model` stays as it is.

    Raises:
        RecipeError: There is no such initializer, or it is of another shape or type.
    """
    made = model.clone()
    left: dict[str, Array] = dict(weights)
    for graph in made.graphs():
        for name in [name for name in graph.initializers if name in left]:
            _write(graph.initializers[name], left.pop(name))
    if left:
        raise RecipeError(
            f"the plan has trained weights {next(iter(left))!r}, which the graph lacks",
            hint="Replay a plan with the model and the version that it was made with.",
        )
    return made


def _write(value: ir.Value, array: Array) -> None:
    tensor = value.const_value
    assert tensor is not None, "an initializer holds a tensor"
    found, expected = (array.shape, array.dtype), (tuple(tensor.shape), tensor.dtype.numpy())
    if found != expected:
        raise RecipeError(
            f"the trained weight {value.name!r} is of shape {list(array.shape)} and type "
            f"{array.dtype}, expected {list(expected[0])} and {expected[1]}",
            hint="Replay a plan with the model and the version that it was made with.",
        )
    value.const_value = ir.tensor(array, name=value.name, dtype=tensor.dtype)
