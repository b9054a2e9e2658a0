"""Pooling over windows, and over all there is."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes
from compressor.training.operators.convolution import padding, sides

_MAX = {1: torch.max_pool1d, 2: torch.max_pool2d, 3: torch.max_pool3d}
_AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_CONVOLVES = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}


@dataclass(frozen=True)
class _Window:
    """How a window moves; `after` reaches as far as the last one does."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    given: list[int]
    after: list[int]


def max_pool(node: Attributes, x: Tensor) -> Tensor:
    """The largest of each window; what is padded never is.

    Raises:
        NotImplementedError: The places of the largest are asked for.
    """
    if node.outputs > 1:
        raise NotImplementedError("the places of the largest are not computed")
    window = _window(node, x.shape[2:])
    pads, rank = window.before, x.ndim - 2
    halves = all(2 * p <= k for p, k in zip(pads, window.kernel, strict=True))
    if window.before != window.after or not halves:
        x = functional.pad(x, sides(window.before, window.after), value=-torch.inf)
        pads = [0] * rank
    return _MAX[rank](x, window.kernel, window.strides, pads, window.dilations)


def average_pool(node: Attributes, x: Tensor) -> Tensor:
    """The mean of each window, with or without what is padded."""
    window, rank = _window(node, x.shape[2:]), x.ndim - 2
    counted = bool(node.get("count_include_pad", 0))
    plain = all(d == 1 for d in window.dilations)
    padded = any(window.before) or any(window.after)
    if plain and not padded:
        return _AVERAGE[rank](x, window.kernel, window.strides)
    ones = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    if counted:
        ones = functional.pad(ones, sides(window.before, window.given), value=1.0)
        rest = [a - g for a, g in zip(window.after, window.given, strict=True)]
        ones = functional.pad(ones, sides([0] * rank, rest))
    else:
        ones = functional.pad(ones, sides(window.before, window.after))
    summed = _sums(functional.pad(x, sides(window.before, window.after)), window)
    return summed / _sums(ones, window)


def lp_pool(node: Attributes, x: Tensor) -> Tensor:
    """The p-norm of each window."""
    power, window = float(node.get("p", 2)), _window(node, x.shape[2:])
    padded = functional.pad(torch.abs(x).pow(power), sides(window.before, window.after))
    return _sums(padded, window).pow(1 / power)


def global_average_pool(node: Attributes, x: Tensor) -> Tensor:
    """The mean over all but samples and channels, which stay as axes of one."""
    return x.mean(tuple(range(2, x.ndim)), keepdim=True)


def global_max_pool(node: Attributes, x: Tensor) -> Tensor:
    """The largest, likewise."""
    return x.amax(tuple(range(2, x.ndim)), keepdim=True)


def global_lp_pool(node: Attributes, x: Tensor) -> Tensor:
    """The p-norm, likewise."""
    power = float(node.get("p", 2))
    axes = tuple(range(2, x.ndim))
    return torch.abs(x).pow(power).sum(axes, keepdim=True).pow(1 / power)


def _sums(x: Tensor, window: _Window) -> Tensor:
    """The sum of each window, each channel by itself."""
    rank = x.ndim - 2
    ones = torch.ones((1, 1, *window.kernel), dtype=x.dtype, device=x.device)
    flat = x.reshape(-1, 1, *x.shape[2:])
    made = _CONVOLVES[rank](flat, ones, None, window.strides, [0] * rank, window.dilations)
    return made.reshape(*x.shape[:2], *made.shape[2:])


def _window(node: Attributes, sizes: Sequence[int]) -> _Window:
    rank = len(sizes)
    kernel = list(node.ints("kernel_shape") or [1] * rank)
    strides = node.ints("strides") or [1] * rank
    dilations = node.ints("dilations") or [1] * rank
    wide = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    before, given = padding(node, sizes, wide, strides)
    after = list(given)
    for axis in range(rank if node.get("ceil_mode", 0) else 0):
        whole = sizes[axis] + before[axis] + given[axis] - wide[axis]
        steps = -(-whole // strides[axis])
        if steps * strides[axis] >= sizes[axis] + before[axis]:
            steps -= 1  # a window that would begin in what is padded behind is none
        if steps <= 0 and dilations[axis] == 1:
            kernel[axis] = min(kernel[axis], kernel[axis] + whole)  # one window, of all there is
        else:
            after[axis] = max(given[axis] + steps * strides[axis] - whole, 0)
    return _Window(kernel, strides, dilations, before, given, after)
