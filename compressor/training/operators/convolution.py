"""Convolutions, and what pads for them."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes

_CONVOLVES = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_TRANSPOSES = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}


def conv(node: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The convolution of (n, c, …) with (m, c / group, k…) → (n, m, …)."""
    rank = x.ndim - 2
    strides, dilations = _per_axis(node, "strides", rank), _per_axis(node, "dilations", rank)
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    before, after = padding(node, x.shape[2:], kernel, strides)
    if before != after:
        x, before = functional.pad(x, sides(before, after)), [0] * rank
    group = node.get("group", 1)
    return _CONVOLVES[rank](x, weight, bias, strides, before, dilations, group)


def conv_transpose(
    node: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """The transpose of that: (n, c, …) with (c, m / group, k…) → (n, m, …)."""
    rank = x.ndim - 2
    strides, dilations = _per_axis(node, "strides", rank), _per_axis(node, "dilations", rank)
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    extra = node.ints("output_padding") or [0] * rank
    full = [s * (n - 1) + k for n, s, k in zip(x.shape[2:], strides, kernel, strict=True)]
    before, after, extra = _cropped(node, x.shape[2:], strides, full, extra)
    group, run = node.get("group", 1), _TRANSPOSES[rank]
    if before == after:
        return run(x, weight, bias, strides, before, extra, group, dilations)
    made = run(x, weight, bias, strides, [0] * rank, extra, group, dilations)
    for axis in range(rank):
        length = full[axis] + extra[axis] - before[axis] - after[axis]
        made = made.narrow(axis + 2, before[axis], length)
    return made


def padding(
    node: Attributes, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int]
) -> tuple[list[int], list[int]]:
    """What is padded before and after each axis; a kernel counts its gaps."""
    rank, how = len(sizes), node.text("auto_pad", "NOTSET")
    if how in ("NOTSET", ""):
        given = node.ints("pads") or [0] * 2 * rank
        return given[:rank], given[rank:]
    if how == "VALID":
        return [0] * rank, [0] * rank
    total = [
        max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, kernel, strides, strict=True)
    ]
    less, more = [t // 2 for t in total], [-(-t // 2) for t in total]
    return (less, more) if how == "SAME_UPPER" else (more, less)


def sides(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """Paddings in the order that torch takes them: of the last axis first."""
    pairs = list(zip(before, after, strict=True))
    return [side for pair in reversed(pairs) for side in pair]


def _cropped(
    node: Attributes,
    sizes: Sequence[int],
    strides: Sequence[int],
    full: Sequence[int],
    extra: list[int],
) -> tuple[list[int], list[int], list[int]]:
    """What is cropped before and after, and what is added, of a transposed convolution."""
    rank, how = len(sizes), node.text("auto_pad", "NOTSET")
    shape = node.ints("output_shape")
    if shape is None and how in ("NOTSET", "VALID", ""):
        given = node.ints("pads") or [0] * 2 * rank
        return given[:rank], given[rank:], extra
    if shape is None:
        shape = [n * s for n, s in zip(sizes, strides, strict=True)]
    shape = shape[-rank:]
    total = [f + e - wanted for f, e, wanted in zip(full, extra, shape, strict=True)]
    short = [max(-t, 0) for t in total]
    total, extra = [max(t, 0) for t in total], [e + s for e, s in zip(extra, short, strict=True)]
    less, more = [t // 2 for t in total], [-(-t // 2) for t in total]
    return (less, more, extra) if how == "SAME_UPPER" else (more, less, extra)


def _per_axis(node: Attributes, name: str, rank: int) -> list[int]:
    return node.ints(name) or [1] * rank
