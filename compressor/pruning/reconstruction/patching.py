"""What a repair changed, as plain arrays that another run can put back."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.tensors import Array
from compressor.layerwise.layers import Layer, layers_of
from compressor.pruning.reconstruction.affine import affines_of
from compressor.pruning.reconstruction.writing import write

WEIGHT, BIAS = "weight", "bias"


def patch_of(before: ir.Model, after: ir.Model) -> dict[str, Array]:
    """New weights and biases by `NODE/weight` and `NODE/bias`, each as its node stores it.

    Args:
        before: What `cut` made.
        after: The cut model, repaired.
    """
    old = layers_of(before)
    patch = _rescaled(before, after)
    for name, layer in layers_of(after).items():
        if not _differs(old[name], layer):
            continue
        patch[f"{name}/{WEIGHT}"] = layer.weight
        if layer.bias_value is not None:
            patch[f"{name}/{BIAS}"] = layer.bias().reshape(-1).astype(layer.weight.dtype)
    return patch


def patched(model: ir.Model, patch: Mapping[str, Array]) -> ir.Model:
    """The model with those weights and biases; the model itself stays as it is.

    Raises:
        RecipeError: A layer is not there, or its weight has another shape.
    """
    model = model.clone()
    layers, affines = layers_of(model), affines_of(model)
    for key in sorted(patch):
        name, _, what = key.rpartition("/")
        if name not in layers and name not in affines:
            raise RecipeError(f"the plan has new weights for {name!r}, which the graph lacks")
        if what != WEIGHT:
            continue
        weight, bias = patch[key], patch.get(f"{name}/{BIAS}")
        expected = layers[name].weight.shape if name in layers else affines[name].scale.shape
        if weight.shape != expected:
            raise RecipeError(
                f"the plan's weight of {name!r} is of shape {weight.shape}, expected {expected}"
            )
        if name in layers:
            _restore(model, layers[name], weight, bias)
        else:
            affines[name].write(model, weight, bias)
    return model


def _rescaled(before: ir.Model, after: ir.Model) -> dict[str, Array]:
    """New factors and shifts of norms, (channels,) each."""
    old, patch = affines_of(before), dict[str, Array]()
    for name, affine in affines_of(after).items():
        shift, former = affine.shift, old[name].shift
        same = shift is None or former is None or np.array_equal(shift, former)
        if same and np.array_equal(old[name].scale, affine.scale):
            continue
        patch[f"{name}/{WEIGHT}"] = affine.scale.astype(affine.dtype)
        if shift is not None:
            patch[f"{name}/{BIAS}"] = shift.astype(affine.dtype)
    return patch


def _restore(model: ir.Model, layer: Layer, weight: Array, bias: Array | None) -> None:
    """What `write` did: the stored weight has Gemm's alpha in it already."""
    for scale in ("alpha", "beta"):
        layer.node.attributes.pop(scale, None)
    layer.weight_value.const_value = ir.tensor(weight, name=layer.weight_value.name)
    matrix = layer.matrix()
    vector = None if bias is None else bias.astype(np.float64).reshape(matrix.shape[:2])
    write(model, layer, matrix, vector)


def _differs(one: Layer, other: Layer) -> bool:
    return not (
        one.weight.shape == other.weight.shape
        and np.array_equal(one.matrix(), other.matrix())
        and np.array_equal(one.bias(), other.bias())
    )
