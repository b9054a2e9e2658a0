"""The algebra of folding: per-channel affine operators, z = a·y + c.

One a and one c per channel: BatchNormalization in inference mode, and Mul, Add, Sub and Div with a
constant. Beside a linear operator (`linear`) they are folded into its weights.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from onnxscript.rewriter._basics import MatchFailureError

from compressor.graph.constants import constant
from compressor.graph.tensors import Array

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AffineOperator:
    """An operator that can be affine, as a rewrite rule draws it.

    Attributes:
        op_type: The operator.
        data_first: Whether the data is its first operand; else the constant is.
    """

    op_type: str
    data_first: bool = True

    def draw(self, op: Any, data: Any, c: Any, output: str) -> Any:
        """The operator in a pattern: `op.Sub(data, c)`, `op.BatchNormalization(data, ...)`."""
        if self.op_type == "BatchNormalization":
            return op.BatchNormalization(data, _allow_other_inputs=True, _outputs=[output])
        operands = (data, c) if self.data_first else (c, data)
        return getattr(op, self.op_type)(*operands, _outputs=[output])


AFFINE = (
    AffineOperator("BatchNormalization"),
    AffineOperator("Mul"),
    AffineOperator("Add"),
    AffineOperator("Sub"),
    AffineOperator("Sub", data_first=False),
    AffineOperator("Div"),
)
"""All of them; `commute` draws the other order of Mul and Add, and c / y is not affine in y."""


@dataclass(frozen=True)
class Affine:
    """z = scale · y + shift along one axis of y; both have that axis' size."""

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


def affine_of(node: ir.Node, data: ir.Value, axis: int, rank: int | None, channels: int) -> Affine:
    """What a node computes from its data, which is affine along one axis of it.

    Args:
        node: BatchNormalization in inference mode, or Mul, Add, Sub, Div with a constant.
        data: The operand that is not the constant.
        axis: The channels' axis, counted from the front; -1 for the last.
        rank: The rank of the data; None when it is not known.
        channels: The size of that axis, known to be exactly this in the data.

    Raises:
        MatchFailureError: The node is not affine along that axis, or not with finite numbers.
    """
    if node.op_type == "BatchNormalization":
        found = _batch_normalization(node, axis, rank, channels)
    else:
        found = _arithmetic(node, data, axis, rank, channels)
    if not (np.isfinite(found.scale).all() and np.isfinite(found.shift).all()):
        raise MatchFailureError("a variance of zero or a division by zero is not finite", node)
    return found


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


def _batch_normalization(node: ir.Node, axis: int, rank: int | None, channels: int) -> Affine:
    """Z = γ·(y - μ) / √(σ² + ε) + β, so a = γ / √(σ² + ε) and c = β - a·μ; channels are axis 1."""
    if axis not in (1, -1) or (axis == -1 and rank != 2):
        raise MatchFailureError("the channels of BatchNormalization are another axis", node)
    if node.attributes.get_int("training_mode", 0) == 1:
        raise MatchFailureError("BatchNormalization is in training mode", node)
    if node.attributes.get_int("spatial", 1) == 0:
        raise MatchFailureError("BatchNormalization has one number per element", node)
    tensors = [constant(value) for value in node.inputs[1:5]]
    arrays = [None if t is None else t.numpy().astype(np.float64) for t in tensors]
    if len(arrays) < 4 or any(a is None or a.shape != (channels,) for a in arrays):
        raise MatchFailureError("an input is not a constant of one number per channel", node)
    gamma, beta, mean, variance = (np.asarray(a) for a in arrays)
    scale = gamma / np.sqrt(variance + node.attributes.get_float("epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)


def _arithmetic(
    node: ir.Node, data: ir.Value, axis: int, rank: int | None, channels: int
) -> Affine:
    data_first = node.inputs[0] is data
    tensor = constant(node.inputs[1 if data_first else 0])
    if tensor is None or constant(data) is not None:
        raise MatchFailureError("not one operand is a constant, and the other data", node)
    k = channel_vector(tensor.numpy(), axis, rank, channels)
    if k is None:
        raise MatchFailureError("the constant is not one number per channel", node)
    one, zero = np.ones_like(k), np.zeros_like(k)
    match node.op_type, data_first:
        case "Mul", _:
            return Affine(k, zero)
        case "Add", _:
            return Affine(one, k)
        case "Sub", True:
            return Affine(one, -k)
        case "Sub", False:
            return Affine(-one, k)
    return Affine(1 / k, zero)


def scaled(weight: Array, by: Array) -> Array:
    """The product with a broadcast factor in the weight's type, computed in double precision."""
    if weight.dtype.isbuiltin != 1:  # bfloat16 and its like: numpy cannot cast them in the loop
        return np.multiply(weight.astype(np.float64), by, dtype=np.float64).astype(weight.dtype)
    result = np.empty(weight.shape, weight.dtype)
    np.multiply(weight, by, out=result, dtype=np.float64, casting="unsafe")
    return result
