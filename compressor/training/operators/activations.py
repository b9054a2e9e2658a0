"""Nonlinearities, element by element or along one axis."""

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes


def relu(node: Attributes, x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


def leaky_relu(node: Attributes, x: Tensor) -> Tensor:
    """x, or alpha · x where that is negative."""
    return functional.leaky_relu(x, node.get("alpha", 0.01))


def p_relu(node: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    """x, or slope · x where that is negative; slopes broadcast."""
    return torch.where(x < 0, x * slope, x)


def elu(node: Attributes, x: Tensor) -> Tensor:
    """x, or alpha · (exp(x) - 1) where that is negative."""
    return functional.elu(x, node.get("alpha", 1.0))


def selu(node: Attributes, x: Tensor) -> Tensor:
    """Gamma · elu(x)."""
    alpha, gamma = node.get("alpha", 1.6732632423543772), node.get("gamma", 1.0507009873554805)
    return functional.elu(x, alpha) * float(gamma)


def celu(node: Attributes, x: Tensor) -> Tensor:
    """max(x, 0) + min(0, alpha · (exp(x / alpha) - 1))."""
    return functional.celu(x, node.get("alpha", 1.0))


def thresholded_relu(node: Attributes, x: Tensor) -> Tensor:
    """X above alpha, else 0."""
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


def sigmoid(node: Attributes, x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def hard_sigmoid(node: Attributes, x: Tensor) -> Tensor:
    """Alpha · x + beta, between 0 and 1."""
    return torch.clamp(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0, 1)


def hard_swish(node: Attributes, x: Tensor) -> Tensor:
    """X · max(0, min(1, x / 6 + 1/2))."""
    return functional.hardswish(x)


def swish(node: Attributes, x: Tensor) -> Tensor:
    """X · sigmoid(alpha · x)."""
    return x * torch.sigmoid(node.get("alpha", 1.0) * x)


def mish(node: Attributes, x: Tensor) -> Tensor:
    """X · tanh(softplus(x))."""
    return functional.mish(x)


def tanh(node: Attributes, x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


def softplus(node: Attributes, x: Tensor) -> Tensor:
    """log(1 + exp(x))."""
    return functional.softplus(x)


def softsign(node: Attributes, x: Tensor) -> Tensor:
    """X / (1 + |x|)."""
    return functional.softsign(x)


def gelu(node: Attributes, x: Tensor) -> Tensor:
    """X · Φ(x), exact or by tanh."""
    return functional.gelu(x, approximate=node.text("approximate", "none"))


def softmax(node: Attributes, x: Tensor) -> Tensor:
    """exp(x) / Σ exp(x) along an axis; before operator set 13 over all from it on."""
    if node.version >= 13:
        return torch.softmax(x, node.get("axis", -1))
    return torch.softmax(_flat(x, node.get("axis", 1)), -1).reshape(x.shape)


def log_softmax(node: Attributes, x: Tensor) -> Tensor:
    """The logarithm of the same."""
    if node.version >= 13:
        return torch.log_softmax(x, node.get("axis", -1))
    return torch.log_softmax(_flat(x, node.get("axis", 1)), -1).reshape(x.shape)


def hardmax(node: Attributes, x: Tensor) -> Tensor:
    """1 at the first largest along an axis, else 0."""
    axis = node.get("axis", -1 if node.version >= 13 else 1) % x.ndim
    flat = x if node.version >= 13 else _flat(x, axis)
    along = axis if node.version >= 13 else -1
    best = flat.argmax(along, keepdim=True)
    return torch.zeros_like(flat).scatter(along, best, 1).reshape(x.shape)


def dropout(
    node: Attributes, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> Tensor | tuple[Tensor, Tensor]:
    """X as it is; in training, where that was asked for, some of it is zero."""
    share = node.get("ratio", 0.5) if ratio is None else float(ratio)
    made = functional.dropout(x, share, training=True) if node.dropout else x
    return made if node.outputs == 1 else (made, made == x)


def _flat(x: Tensor, axis: int) -> Tensor:
    """(all axes before, all from this one on)."""
    return x.flatten(axis % x.ndim, -1)
