"""Random numbers of torch's own generator: seeded, and other ones than the runtime's."""

import onnx_ir as ir
import torch
from torch import Tensor

from compressor.training.attributes import Attributes
from compressor.training.types import torch_type


def random_normal(node: Attributes) -> Tensor:
    """Normal numbers of a shape."""
    return _normal(node, torch.randn(node.ints("shape") or []))


def random_normal_like(node: Attributes, x: Tensor) -> Tensor:
    """Normal numbers of the shape of x."""
    return _normal(node, torch.randn(x.shape, device=x.device)).to(_type(node, x))


def random_uniform(node: Attributes) -> Tensor:
    """Uniform numbers of a shape."""
    return _uniform(node, torch.rand(node.ints("shape") or []))


def random_uniform_like(node: Attributes, x: Tensor) -> Tensor:
    """Uniform numbers of the shape of x."""
    return _uniform(node, torch.rand(x.shape, device=x.device)).to(_type(node, x))


def bernoulli(node: Attributes, x: Tensor) -> Tensor:
    """Ones with probability x, else zeros."""
    return torch.bernoulli(x).to(_type(node, x))


def _normal(node: Attributes, drawn: Tensor) -> Tensor:
    return drawn * float(node.get("scale", 1.0)) + float(node.get("mean", 0.0))


def _uniform(node: Attributes, drawn: Tensor) -> Tensor:
    low, high = float(node.get("low", 0.0)), float(node.get("high", 1.0))
    return drawn * (high - low) + low


def _type(node: Attributes, x: Tensor) -> torch.dtype:
    named = node.get("dtype")
    return x.dtype if named is None else torch_type(ir.DataType(named))
