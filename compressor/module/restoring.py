"""Repaired weights in a module whose BatchNorm is still a layer of its own.

Repair solved for the folded layer, y = W∘x + b. The module computes

    y = s·(w∘x + c − μ) + β,   s = γ/σ,   σ² = running variance + ε

so that w = W/s gives the same, with γ, β, σ as they were and μ = c + (β − b)/s. Training goes on
from there: repair keeps the mean of y, which is β where the statistics were true, so that μ is the
mean of w∘x + c again, and what a batch is normalized to is what running statistics normalize to.
Channels whose s is next to nothing get s = 1, by γ = σ.
"""

import numpy as np
import torch
from torch import nn

from compressor.errors import PruningError
from compressor.graph.tensors import Array
from compressor.layerwise.im2col import Doubles
from compressor.plan.decisions import PrunePlan
from compressor.pruning.reconstruction.patching import BIAS, WEIGHT
from compressor.pruning.unfolding import Home, Norm

_LEAST = 1e-3
"""Least share of the largest |s|: below it W/s would be far out of the range of weights."""


def restore(module: nn.Module, plan: PrunePlan) -> tuple[str, ...]:
    """Put the plan's repaired weights into a module that was sliced by it, in place.

    Args:
        module: The smaller module.
        plan: What was decided, with `homes` of the layers that are known to be one parameter, or
            one and a BatchNorm.

    Returns:
        The layers that have no home, and keep the weights they were trained to.

    Raises:
        PruningError: A repaired weight does not fit its parameter.
    """
    nodes = dict.fromkeys(key.rpartition("/")[0] for key in plan.weights)
    for node in nodes:
        home, weight = plan.homes.get(node), plan.weights.get(f"{node}/{WEIGHT}")
        if home is not None and weight is not None:
            _restore(module, home, weight, plan.weights.get(f"{node}/{BIAS}"))
    return tuple(node for node in nodes if node not in plan.homes)


def _restore(module: nn.Module, home: Home, weight: Array, bias: Array | None) -> None:
    w: Doubles = (weight.T if home.transposed else weight).astype(np.float64)
    width = w.shape[home.axis]
    b: Doubles = np.zeros(width) if bias is None else bias.astype(np.float64).reshape(-1)
    with torch.no_grad():
        if home.norm is not None:
            c = np.zeros(width) if home.bias is None else _get(module, home.bias)
            _require_shape(home.norm.variance, _tensor(module, home.norm.variance), (width,))
            s, mean = _unfolded(module, home.norm, b, c)
            w = w / s.reshape([-1 if i == home.axis else 1 for i in range(w.ndim)])
            _put(module, home.norm.mean, mean)
        elif home.bias is not None:
            _put(module, home.bias, b)
        elif np.any(b):
            _give_bias(module, home.weight, b)
        _put(module, home.weight, w)


def _unfolded(module: nn.Module, norm: Norm, b: Doubles, c: Doubles) -> tuple[Doubles, Doubles]:
    """The s and μ to go on with; γ is changed where s would be next to nothing."""
    deviation = np.sqrt(_get(module, norm.variance) + norm.epsilon)
    gamma = np.ones_like(deviation) if norm.scale is None else _get(module, norm.scale)
    beta = np.zeros_like(deviation) if norm.shift is None else _get(module, norm.shift)
    s = gamma / deviation
    if norm.scale is not None:
        tiny = np.abs(s) <= _LEAST * np.abs(s).max()
        _put(module, norm.scale, np.where(tiny, deviation, gamma))
        s = np.where(tiny, 1.0, s)
    return s, c + (beta - b) / s


def _get(module: nn.Module, name: str) -> Doubles:
    array: Doubles = _tensor(module, name).detach().cpu().double().numpy()
    return array


def _put(module: nn.Module, name: str, array: Doubles) -> None:
    tensor = _tensor(module, name)
    _require_shape(name, tensor, array.shape)
    tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def _require_shape(name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise PruningError(
            f"the plan's repaired {name!r} is of shape {list(shape)}, the module's of "
            f"{list(tensor.shape)}",
            hint="Apply a plan to the module that it was made for.",
        )


def _give_bias(module: nn.Module, weight: str, b: Doubles) -> None:
    """A bias for a convolution or linear layer that had none."""
    owner = module.get_submodule(weight.rpartition(".")[0])
    like = _tensor(module, weight)
    owner.bias = nn.Parameter(torch.from_numpy(b).to(like.device, like.dtype))


def _tensor(module: nn.Module, name: str) -> torch.Tensor:
    path, _, attribute = name.rpartition(".")
    owner = module.get_submodule(path)
    tensor = getattr(owner, attribute, None)
    if not isinstance(tensor, torch.Tensor):
        raise PruningError(
            f"the plan repairs {name!r}, which the module does not have",
            hint="Apply a plan to the module that it was made for.",
        )
    return tensor
