"""The algebra of folding: linear operators, and per-channel affine ones beside them.

A linear operator is y = W∘x + b; an affine one is z = a·y + c with one a and one c per channel.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.tensors import Array

Vector = npt.NDArray[np.float64]

AFFINE = ("BatchNormalization", "Mul", "Add", "Sub", "Div")
LINEAR = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass(frozen=True)
class Affine:
    """z = scale · y + shift along one axis of y; both have that axis' size."""

    data: ir.Value
    scale: Vector
    shift: Vector

    @property
    def only_shifts(self) -> bool:
        """Whether z = y + c."""
        return bool(np.all(self.scale == 1))

    @property
    def only_scales(self) -> bool:
        """Whether z = a · y."""
        return bool(np.all(self.shift == 0))

    @property
    def finite(self) -> bool:
        """False for what a zero variance or a division by zero leaves."""
        return bool(np.isfinite(self.scale).all() and np.isfinite(self.shift).all())


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The data of an initializer that no caller can override, or of a Constant node."""
    if value is None or value.is_graph_input():
        return None
    return ir.convenience.get_const_tensor(value)


def affine_of(node: ir.Node, axis: int, rank: int | None, channels: int) -> Affine | None:
    """What a node computes, when that is affine along one axis of its data input.

    Args:
        node: BatchNormalization in inference mode, or Mul, Add, Sub, Div with a constant.
        axis: The channels' axis, counted from the front; -1 for the last.
        rank: The rank of the data; None when it is not known.
        channels: The size of that axis, known to be exactly this in the data.
    """
    if node.op_type == "BatchNormalization":
        return _batch_normalization(node, axis, rank, channels)
    left, right = node.inputs[0], node.inputs[1]
    for data, operand, data_is_left in ((left, right, True), (right, left, False)):
        tensor = constant(operand)
        if tensor is None or data is None or constant(data) is not None:
            continue
        k = channel_vector(tensor.numpy(), axis, rank, channels)
        if k is not None:
            return _elementwise(node.op_type, data, k, data_is_left)
    return None


def channel_vector(k: Array, axis: int, rank: int | None, channels: int) -> Vector | None:
    """A broadcast operand as one number per channel; None where it is anything else.

    None, too, where broadcasting would enlarge the data it is combined with.
    """
    if rank is None and k.ndim > 1:
        return None
    if rank is not None and k.ndim > rank:
        return None
    from_the_back = axis if axis < 0 else (axis - rank if rank is not None else 0)
    sizes = [size for i, size in enumerate(k.shape) if i - k.ndim != from_the_back]
    if any(size != 1 for size in sizes) or k.size not in (1, channels):
        return None
    return np.broadcast_to(k.astype(np.float64).reshape(-1), (channels,)).copy()


def _batch_normalization(
    node: ir.Node, axis: int, rank: int | None, channels: int
) -> Affine | None:
    """Z = γ·(y - μ) / √(σ² + ε) + β, so a = γ / √(σ² + ε) and c = β - a·μ; channels are axis 1."""
    training = node.attributes.get_int("training_mode", 0) == 1
    per_element = node.attributes.get_int("spatial", 1) == 0
    if axis not in (1, -1) or (axis == -1 and rank != 2) or training or per_element:
        return None
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        return None
    tensors = [constant(value) for value in node.inputs[1:5]]
    arrays = [None if t is None else t.numpy().astype(np.float64) for t in tensors]
    if len(arrays) < 4 or any(a is None or a.shape != (channels,) for a in arrays):
        return None
    gamma, beta, mean, variance = (np.asarray(a) for a in arrays)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    data = node.inputs[0]
    return None if data is None else Affine(data, scale, beta - mean * scale)


def _elementwise(op_type: str, data: ir.Value, k: Vector, data_is_left: bool) -> Affine | None:
    one, zero = np.ones_like(k), np.zeros_like(k)
    if op_type == "Mul":
        return Affine(data, k, zero)
    if op_type == "Add":
        return Affine(data, one, k)
    if op_type == "Sub":
        return Affine(data, one, -k) if data_is_left else Affine(data, -one, k)
    if op_type == "Div" and data_is_left:
        return Affine(data, 1 / k, zero)
    return None


def scaled(weight: Array, by: Array) -> Array:
    """The product with a broadcast factor in the weight's type, computed in double precision."""
    if weight.dtype.isbuiltin != 1:  # bfloat16 and its like: numpy cannot cast them in the loop
        return np.multiply(weight.astype(np.float64), by, dtype=np.float64).astype(weight.dtype)
    result = np.empty(weight.shape, weight.dtype)
    np.multiply(weight, by, out=result, dtype=np.float64, casting="unsafe")
    return result
