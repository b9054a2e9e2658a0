"""Sums, means, extremes and places of extremes along axes."""

import torch
from torch import Tensor

from compressor.training.attributes import Attributes


def reduce_sum(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Σ x."""
    along = _axes(node, x, axes)
    return x if along is None else x.sum(along, keepdim=_keeps(node), dtype=x.dtype)


def reduce_mean(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """The mean."""
    along = _axes(node, x, axes)
    return x if along is None else x.mean(along, keepdim=_keeps(node))


def reduce_max(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """The largest."""
    along = _axes(node, x, axes)
    return x if along is None else x.amax(along, keepdim=_keeps(node))


def reduce_min(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """The least."""
    along = _axes(node, x, axes)
    return x if along is None else x.amin(along, keepdim=_keeps(node))


def reduce_prod(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """The product."""
    along = _axes(node, x, axes)
    for axis in sorted(along or (), reverse=True):
        x = x.prod(axis, keepdim=_keeps(node), dtype=x.dtype)
    return x


def reduce_l1(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Σ |x|."""
    return reduce_sum(node, torch.abs(x), axes)


def reduce_l2(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """√Σ x²."""
    return torch.sqrt(reduce_sum(node, x * x, axes))


def reduce_sum_square(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Σ x²."""
    return reduce_sum(node, x * x, axes)


def reduce_log_sum(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Log Σ x."""
    return torch.log(reduce_sum(node, x, axes))


def reduce_log_sum_exp(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Log Σ exp(x)."""
    along = _axes(node, x, axes)
    return x if along is None else torch.logsumexp(x, along, keepdim=_keeps(node))


def arg_max(node: Attributes, x: Tensor) -> Tensor:
    """The place of the largest: of several the first, or the last."""
    return _place(node, x, largest=True)


def arg_min(node: Attributes, x: Tensor) -> Tensor:
    """The place of the least, likewise."""
    return _place(node, x, largest=False)


def top_k(node: Attributes, x: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The largest or the least along an axis, and their places."""
    largest, ordered = bool(node.get("largest", 1)), bool(node.get("sorted", 1))
    found = torch.topk(x, int(count), node.get("axis", -1), largest=largest, sorted=ordered)
    return found.values, found.indices


def _place(node: Attributes, x: Tensor, *, largest: bool) -> Tensor:
    axis, keeps = node.get("axis", 0), _keeps(node)
    last = bool(node.get("select_last_index", 0))
    source = x.flip(axis) if last else x
    found = source.argmax(axis, keepdim=keeps) if largest else source.argmin(axis, keepdim=keeps)
    return x.shape[axis] - 1 - found if last else found


def _keeps(node: Attributes) -> bool:
    return bool(node.get("keepdims", 1))


def _axes(node: Attributes, x: Tensor, axes: Tensor | None) -> tuple[int, ...] | None:
    """Along which it is reduced: all where none are named; None where nothing is to be done."""
    named = node.ints("axes") if axes is None else [int(axis) for axis in axes.tolist()]
    if named:
        return tuple(axis % max(x.ndim, 1) for axis in named)
    return None if node.get("noop_with_empty_axes", 0) else tuple(range(x.ndim))
