"""Comparisons, logic and types."""

from functools import reduce

import onnx_ir as ir
import torch
from torch import Tensor

from compressor.training.attributes import Attributes
from compressor.training.types import torch_type


def equal(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X = y."""
    return x == y


def greater(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X > y."""
    return x > y


def greater_or_equal(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X ≥ y."""
    return x >= y


def less(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X < y."""
    return x < y


def less_or_equal(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X ≤ y."""
    return x <= y


def and_(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Both."""
    return torch.logical_and(x, y)


def or_(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Either."""
    return torch.logical_or(x, y)


def xor(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """One of both."""
    return torch.logical_xor(x, y)


def not_(node: Attributes, x: Tensor) -> Tensor:
    """The opposite."""
    return torch.logical_not(x)


def bitwise_and(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Bits of both."""
    return torch.bitwise_and(x, y)


def bitwise_or(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Bits of either."""
    return torch.bitwise_or(x, y)


def bitwise_xor(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """Bits of one of both."""
    return torch.bitwise_xor(x, y)


def bitwise_not(node: Attributes, x: Tensor) -> Tensor:
    """The other bits."""
    return torch.bitwise_not(x)


def is_nan(node: Attributes, x: Tensor) -> Tensor:
    """Whether it is no number."""
    return torch.isnan(x)


def is_inf(node: Attributes, x: Tensor) -> Tensor:
    """Whether it is infinite, of either sign or of one."""
    signs = [
        torch.isposinf(x) if node.get("detect_positive", 1) else torch.zeros_like(x).bool(),
        torch.isneginf(x) if node.get("detect_negative", 1) else torch.zeros_like(x).bool(),
    ]
    return reduce(torch.logical_or, signs)


def where(node: Attributes, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """X where the condition holds, else y."""
    return torch.where(condition, x, y)


def cast(node: Attributes, x: Tensor) -> Tensor:
    """X in another type; of a float what is behind the point is dropped."""
    return x.to(torch_type(ir.DataType(node.get("to"))))


def cast_like(node: Attributes, x: Tensor, like: Tensor) -> Tensor:
    """X in the type of another tensor."""
    return x.to(like.dtype)


def identity(node: Attributes, x: Tensor) -> Tensor:
    """X."""
    return x
