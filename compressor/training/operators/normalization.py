"""Norms over channels, groups, features and neighbours."""

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes


def batch_normalization(
    node: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    """(x - mean) / √(variance + ε) · scale + bias, with the statistics that are stored."""
    epsilon = node.get("epsilon", 1e-5)
    return functional.batch_norm(x, mean, variance, scale, bias, training=False, eps=epsilon)


def instance_normalization(node: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Each channel of each sample to mean 0 and variance 1, then scale and bias."""
    return functional.instance_norm(
        x, weight=scale, bias=bias, eps=node.get("epsilon", 1e-5), use_input_stats=True
    )


def layer_normalization(
    node: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None
) -> Tensor:
    """All axes from one on to mean 0 and variance 1, then scale and bias.

    Raises:
        NotImplementedError: Mean or deviation are asked for, too.
    """
    if node.outputs > 1:
        raise NotImplementedError("mean and deviation are not returned")
    shape = x.shape[node.get("axis", -1) :]
    if scale.shape != shape:
        scale = scale.expand(shape)
        bias = None if bias is None else bias.expand(shape)
    return functional.layer_norm(x, shape, scale, bias, node.get("epsilon", 1e-5))


def rms_normalization(node: Attributes, x: Tensor, scale: Tensor) -> Tensor:
    """X / √(mean of x² + ε) · scale, over all axes from one on."""
    axes = tuple(range(node.get("axis", -1) % x.ndim, x.ndim))
    mean = x.pow(2).mean(axes, keepdim=True)
    return x * torch.rsqrt(mean + node.get("epsilon", 1e-5)) * scale


def group_normalization(node: Attributes, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Groups of channels to mean 0 and variance 1, then scale and bias of groups or channels."""
    groups, epsilon = node.get("num_groups"), node.get("epsilon", 1e-5)
    if scale.shape[0] != x.shape[1]:
        repeats = x.shape[1] // scale.shape[0]
        scale, bias = scale.repeat_interleave(repeats), bias.repeat_interleave(repeats)
    return functional.group_norm(x, groups, scale, bias, epsilon)


def lp_normalization(node: Attributes, x: Tensor) -> Tensor:
    """X over its p-norm along an axis."""
    axis = node.get("axis", -1)
    length: Tensor = torch.linalg.vector_norm(x, node.get("p", 2), axis, keepdim=True)
    return x / length


def mean_variance_normalization(node: Attributes, x: Tensor) -> Tensor:
    """To mean 0 and variance 1 over some axes."""
    axes = tuple(node.ints("axes", (0, 2, 3)) or ())
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.pow(2).mean(axes, keepdim=True).sqrt() + 1e-9)


def lrn(node: Attributes, x: Tensor) -> Tensor:
    """X / (bias + alpha / size · Σ x² of neighbouring channels) ** beta."""
    size = node.get("size")
    squares = functional.pad(
        x.pow(2).unsqueeze(1), (0, 0) * (x.ndim - 2) + ((size - 1) // 2, size // 2)
    )
    total = squares.unfold(2, size, 1).sum(-1).squeeze(1)
    factor: Tensor = node.get("bias", 1.0) + node.get("alpha", 1e-4) / size * total
    return x / torch.pow(factor, node.get("beta", 0.75))
