"""Products of matrices."""

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes


def mat_mul(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X · y of the last two axes."""
    return torch.matmul(x, y)


def gemm(node: Attributes, x: Tensor, y: Tensor, c: Tensor | None = None) -> Tensor:
    """Alpha · x · y + beta · c, with either transposed."""
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    left = x.t() if node.get("transA", 0) else x
    plain = alpha == 1 and (c is None or (beta == 1 and c.ndim == 1))
    if plain and node.get("transB", 0):
        return functional.linear(left, y, c)
    made = left @ (y.t() if node.get("transB", 0) else y)
    made = made if alpha == 1 else alpha * made
    return made if c is None else made + (c if beta == 1 else beta * c)


def einsum(node: Attributes, *xs: Tensor) -> Tensor:
    """The sum of products that the equation says."""
    return torch.einsum(node.text("equation", ""), *xs)


def mat_mul_integer(
    node: Attributes,
    x: Tensor,
    y: Tensor,
    x_zero: Tensor | None = None,
    y_zero: Tensor | None = None,
) -> Tensor:
    """(x - its zero point) · (y - its zero point); carried in floats, which have gradients."""
    left = x.float() - (0 if x_zero is None else _rows(x_zero))
    right = y.float() - (0 if y_zero is None else y_zero.float())
    return left @ right


def _rows(zero: Tensor) -> Tensor:
    """A zero point for each row, where there is more than one."""
    return zero.float() if zero.numel() == 1 else zero.float().unsqueeze(-1)
