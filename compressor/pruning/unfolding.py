"""Where the weight of a folded layer came from: a parameter, and a BatchNorm behind it.

Norms that stay are at home in their own factors and shifts.

    y = γ·(w∘x + c − μ)/σ + β = W∘x + b,   W = s·w,   b = s·(c − μ) + β,   s = γ/σ,  σ² = var + ε

Folding is known to be this and nothing else where the parameters of the module give the folded
weight and bias again, number by number.
"""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from compressor.layerwise.im2col import Doubles, Floats
from compressor.layerwise.layers import Layer, layers_of
from compressor.pruning.reconstruction.affine import affines_of
from compressor.results.records import Record

RTOL = 1e-4
"""Tolerance relative to a weight's largest magnitude; another order of rounding makes 1e-6."""


class Norm(Record):
    """A BatchNorm by the names of its parameters; None where it has no scale and shift."""

    scale: str | None
    shift: str | None
    mean: str
    variance: str
    epsilon: float


class Home(Record):
    """Where a layer's weight and bias are in the captured graph.

    Attributes:
        weight: The parameter.
        transposed: Whether the layer stores the parameter transposed.
        axis: The parameter's axis of output channels.
        bias: The parameter of the bias; None where the layer had none.
        norm: The BatchNorm behind it that was folded into it, if there was one.
    """

    weight: str
    transposed: bool = False
    axis: int = 0
    bias: str | None = None
    norm: Norm | None = None


def homes_of(plain: ir.Model, folded: ir.Model, parameters: Collection[str]) -> dict[str, Home]:
    """The homes of layers; a layer whose weight is not exactly what its home makes has none.

    Args:
        plain: The unfolded graph.
        folded: The folded one, with nodes of the same names.
        parameters: Names of initializers that are parameters, other than constants of the graph.
    """
    layers = layers_of(folded)
    found = {}
    for node in plain.graph:
        layer = layers.get(node.name or "")
        home = None if layer is None else _home(node)
        if layer is None or home is None or not _makes(home, layer, plain):
            continue
        named = _named(home, plain, parameters)
        if named is not None:
            found[layer.name] = named
    return found | _homes_of_norms(plain, folded, parameters)


def _homes_of_norms(
    plain: ir.Model, folded: ir.Model, parameters: Collection[str]
) -> dict[str, Home]:
    """Norms that stay, whose factors and shifts are parameters."""
    before, found = affines_of(plain), {}
    for name, affine in affines_of(folded).items():
        if name not in before or affine.names != before[name].names:
            continue
        scale, shift = affine.names
        own = scale in parameters and (shift is None or shift in parameters)
        if own and before[name].unshared and np.array_equal(affine.scale, before[name].scale):
            found[name] = Home(weight=scale, bias=shift)
    return found


def _home(node: ir.Node) -> Home | None:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain != "":
        return None
    if node.op_type == "ConvTranspose" and node.attributes.get_int("group", 1) > 1:
        return None
    weight, transposed = _weight(node.inputs[1])
    if weight is None:
        return None
    turned = node.op_type == "Gemm" and node.attributes.get_int("transB", 0) == 1
    rows_first = node.op_type == "Conv" or turned
    bias, last = _bias(node)
    if bias is not None and not _own(bias):
        return None
    return Home(
        weight=weight,
        transposed=transposed,
        axis=0 if rows_first != transposed else 1,
        bias=None if bias is None else bias.name,
        norm=_norm(last),
    )


def _weight(value: ir.Value | None) -> tuple[str | None, bool]:
    """The initializer behind a weight that nothing else reads, and whether it is transposed."""
    if value is None or _own(value):
        return (None if value is None else value.name), False
    node = value.producer()
    transposes = node is not None and node.op_type == "Transpose" and len(value.uses()) == 1
    if node is None or not transposes or not _own(node.inputs[0]):
        return None, False
    source = node.inputs[0]
    return (None if source is None else source.name), True


def _bias(node: ir.Node) -> tuple[ir.Value | None, ir.Value]:
    """What is added to a product, and the sum."""
    product = node.outputs[0]
    if node.op_type != "MatMul":
        return (node.inputs[2] if len(node.inputs) > 2 else None), product
    readers = product.consumers()
    if len(readers) == 1 and readers[0].op_type == "Add":
        other = next((value for value in readers[0].inputs if value is not product), None)
        if other is not None and other.is_initializer() and len(other.shape or ()) == 1:
            return other, readers[0].outputs[0]
    return None, product


def _norm(value: ir.Value) -> Norm | None:
    readers = value.consumers()
    if len(readers) != 1 or readers[0].op_type != "BatchNormalization":
        return None
    read = readers[0].inputs[1:]
    if not all(_own(vector) for vector in read):
        return None
    names = [vector.name or "" for vector in read if vector is not None]
    epsilon = readers[0].attributes.get_float("epsilon", 1e-5)
    return Norm(scale=names[0], shift=names[1], mean=names[2], variance=names[3], epsilon=epsilon)


def _makes(home: Home, layer: Layer, plain: ir.Model) -> bool:
    """Whether what is stored gives the layer's weight and bias."""
    if layer.node.attributes.get_float("alpha", 1.0) != 1.0:
        return False
    weight = _array(plain, home.weight)
    bias = np.zeros(weight.shape[home.axis]) if home.bias is None else _array(plain, home.bias)
    if home.norm is not None:
        norm = home.norm
        deviation = np.sqrt(_array(plain, norm.variance) + norm.epsilon)
        scale = _array(plain, norm.scale or "") / deviation
        shape = [-1 if axis == home.axis else 1 for axis in range(weight.ndim)]
        if scale.size != weight.shape[home.axis]:
            return False
        weight = weight * scale.reshape(shape)
        bias = scale * (bias - _array(plain, norm.mean)) + _array(plain, norm.shift or "")
    weight = weight.T if home.transposed else weight
    return _close(weight, layer.weight) and _close(bias, layer.bias().reshape(-1))


def _named(home: Home, plain: ir.Model, parameters: Collection[str]) -> Home | None:
    """The home if it is all parameters, but for a scale of 1 and a shift of 0."""
    norm = home.norm
    if norm is not None:
        scale, shift = norm.scale or "", norm.shift or ""
        neutral = (_array(plain, scale) == 1).all() and (_array(plain, shift) == 0).all()
        if scale not in parameters and shift not in parameters and neutral:
            norm = norm.model_copy(update={"scale": None, "shift": None})
    names = [home.weight, home.bias]
    if norm is not None:
        names += [norm.scale, norm.shift, norm.mean, norm.variance]
    if not all(name in parameters for name in names if name is not None):
        return None
    return home.model_copy(update={"norm": norm})


def _close(expected: Doubles, found: Floats) -> bool:
    if expected.shape != found.shape:
        return False
    tolerance = RTOL * float(np.abs(expected).max(initial=0.0)) + 1e-7
    return bool(np.abs(expected - found).max(initial=0.0) <= tolerance)


def _array(model: ir.Model, name: str) -> Doubles:
    tensor = model.graph.initializers[name].const_value
    assert tensor is not None
    array: Doubles = tensor.numpy().astype(np.float64)
    return array


def _own(value: ir.Value | None) -> bool:
    """Whether a value is stored and read once."""
    if value is None or not value.is_initializer() or value.const_value is None:
        return False
    return len(value.uses()) == 1 and not value.is_graph_output()
