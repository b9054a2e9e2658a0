"""Arithmetic, element by element, with the broadcasting that ONNX and torch share."""

from functools import reduce

import torch
from torch import Tensor

from compressor.training.attributes import Attributes


def add(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X + y."""
    return x + y


def sub(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X - y."""
    return x - y


def mul(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X · y."""
    return x * y


def div(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X / y; of whole numbers towards zero."""
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def mod(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """The remainder, with the sign of the divisor, or with `fmod` of the dividend."""
    return torch.fmod(x, y) if node.get("fmod", 0) else torch.remainder(x, y)


def pow_(node: Attributes, x: Tensor, y: Tensor) -> Tensor:
    """X ** y, in the type of x; a single exponent goes to torch as a number, which is faster."""
    power = y.item() if y.numel() == 1 and not y.requires_grad and y.ndim <= x.ndim else y
    return torch.pow(x, power).to(x.dtype)


def max_(node: Attributes, *xs: Tensor) -> Tensor:
    """The largest of some tensors."""
    return reduce(torch.maximum, xs)


def min_(node: Attributes, *xs: Tensor) -> Tensor:
    """The least of some tensors."""
    return reduce(torch.minimum, xs)


def sum_(node: Attributes, *xs: Tensor) -> Tensor:
    """The sum of some tensors."""
    return reduce(torch.add, xs)


def mean(node: Attributes, *xs: Tensor) -> Tensor:
    """The mean of some tensors."""
    return reduce(torch.add, xs) / len(xs)


def abs_(node: Attributes, x: Tensor) -> Tensor:
    """|x|."""
    return torch.abs(x)


def neg(node: Attributes, x: Tensor) -> Tensor:
    """-x."""
    return -x


def sign(node: Attributes, x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return torch.sign(x)


def reciprocal(node: Attributes, x: Tensor) -> Tensor:
    """1 / x."""
    return torch.reciprocal(x)


def sqrt(node: Attributes, x: Tensor) -> Tensor:
    """√x."""
    return torch.sqrt(x)


def exp(node: Attributes, x: Tensor) -> Tensor:
    """The exponential."""
    return torch.exp(x)


def log(node: Attributes, x: Tensor) -> Tensor:
    """The natural logarithm."""
    return torch.log(x)


def erf(node: Attributes, x: Tensor) -> Tensor:
    """The error function."""
    return torch.erf(x)


def floor(node: Attributes, x: Tensor) -> Tensor:
    """⌊x⌋."""
    return torch.floor(x)


def ceil(node: Attributes, x: Tensor) -> Tensor:
    """⌈x⌉."""
    return torch.ceil(x)


def round_(node: Attributes, x: Tensor) -> Tensor:
    """The nearest whole number, of two the even one."""
    return torch.round(x)


def sin(node: Attributes, x: Tensor) -> Tensor:
    """The sine."""
    return torch.sin(x)


def cos(node: Attributes, x: Tensor) -> Tensor:
    """The cosine."""
    return torch.cos(x)


def tan(node: Attributes, x: Tensor) -> Tensor:
    """The tangent."""
    return torch.tan(x)


def asin(node: Attributes, x: Tensor) -> Tensor:
    """The arcsine."""
    return torch.asin(x)


def acos(node: Attributes, x: Tensor) -> Tensor:
    """The arccosine."""
    return torch.acos(x)


def atan(node: Attributes, x: Tensor) -> Tensor:
    """The arctangent."""
    return torch.atan(x)


def sinh(node: Attributes, x: Tensor) -> Tensor:
    """The hyperbolic sine."""
    return torch.sinh(x)


def cosh(node: Attributes, x: Tensor) -> Tensor:
    """The hyperbolic cosine."""
    return torch.cosh(x)


def clip(
    node: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None
) -> Tensor:
    """X between two bounds: inputs, or before operator set 11 attributes."""
    least = node.get("min") if low is None else low.item()
    most = node.get("max") if high is None else high.item()
    return x if least is None and most is None else torch.clamp(x, least, most)


def cum_sum(node: Attributes, x: Tensor, axis: Tensor) -> Tensor:
    """Sums along an axis; `exclusive` leaves each element itself out, `reverse` begins behind."""
    along = int(axis)
    source = x.flip(along) if node.get("reverse", 0) else x
    total = torch.cumsum(source, along, dtype=x.dtype)
    if node.get("exclusive", 0):
        total = total - source
    return total.flip(along) if node.get("reverse", 0) else total
