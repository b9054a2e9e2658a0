"""Shapes: what is read of them, and other arrangements of the same elements."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes
from compressor.training.operators.convolution import sides


def shape(node: Attributes, x: Tensor) -> Tensor:
    """The shape, or part of it."""
    found = list(x.shape)[node.get("start", 0) : node.get("end")]
    return torch.tensor(found, dtype=torch.int64, device=x.device)


def size(node: Attributes, x: Tensor) -> Tensor:
    """How many elements there are."""
    return torch.tensor(x.numel(), dtype=torch.int64, device=x.device)


def reshape(node: Attributes, x: Tensor, wanted: Tensor) -> Tensor:
    """Another shape; 0 keeps a size, -1 is what is left."""
    sizes = [int(n) for n in wanted.tolist()]
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if n == 0 else n for axis, n in enumerate(sizes)]
    return x.reshape(sizes)


def flatten(node: Attributes, x: Tensor) -> Tensor:
    """Two axes: all before one, and all from it on."""
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def squeeze(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """Without axes of one."""
    named = node.ints("axes") if axes is None else [int(axis) for axis in axes.tolist()]
    return x.squeeze() if named is None else x.squeeze(tuple(named))


def unsqueeze(node: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    """With axes of one, where they lie in the result."""
    named = node.ints("axes") if axes is None else [int(axis) for axis in axes.tolist()]
    rank = x.ndim + len(named or ())
    for axis in sorted(axis % rank for axis in named or ()):
        x = x.unsqueeze(axis)
    return x


def transpose(node: Attributes, x: Tensor) -> Tensor:
    """The axes in another order; reversed where none is said."""
    return x.permute(node.ints("perm", tuple(range(x.ndim))[::-1]) or ())


def concat(node: Attributes, *xs: Tensor) -> Tensor:
    """One behind the other along an axis."""
    return torch.cat(xs, node.get("axis", 1))


def split(node: Attributes, x: Tensor, parts: Tensor | None = None) -> tuple[Tensor, ...]:
    """Pieces along an axis, of sizes that are named or of equal ones."""
    axis = node.get("axis", 0)
    named = node.ints("split") if parts is None else [int(n) for n in parts.tolist()]
    if named is None:
        count = node.get("num_outputs", node.outputs)
        step = -(-x.shape[axis] // count)
        last = x.shape[axis] - step * (count - 1)
        named = [*[step] * (count - 1), last]
    return tuple(torch.split(x, named, axis))


def expand(node: Attributes, x: Tensor, wanted: Tensor) -> Tensor:
    """Broadcast to a shape, which may have ones where x is larger."""
    sizes = torch.broadcast_shapes(x.shape, tuple(int(n) for n in wanted.tolist()))  # type: ignore[no-untyped-call]
    return x.expand(sizes)


def tile(node: Attributes, x: Tensor, repeats: Tensor) -> Tensor:
    """Repeated along each axis."""
    return x.repeat([int(n) for n in repeats.tolist()])


def pad(
    node: Attributes,
    x: Tensor,
    pads: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    """Wider by a constant, the edge, a reflection or what comes from the other side."""
    given = node.ints("pads") if pads is None else [int(n) for n in pads.tolist()]
    given = given or []
    half = len(given) // 2
    named = range(half) if axes is None else [int(axis) % x.ndim for axis in axes.tolist()]
    before, after = [0] * x.ndim, [0] * x.ndim
    for place, axis in enumerate(named):
        before[axis], after[axis] = given[place], given[place + half]
    mode = node.text("mode", "constant")
    if mode == "constant":
        filler = node.get("value", 0.0) if value is None else value.item()
        return functional.pad(x, sides(before, after), value=filler)
    return _padded_by_itself(x, before, after, mode)


def depth_to_space(node: Attributes, x: Tensor) -> Tensor:
    """(n, c·b², h, w) → (n, c, h·b, w·b); channels lie first in blocks (DCR) or last (CRD)."""
    block, (n, c, h, w) = node.get("blocksize"), x.shape
    depth = c // block**2
    if node.text("mode", "DCR") == "DCR":
        parts = x.reshape(n, block, block, depth, h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        parts = x.reshape(n, depth, block, block, h, w).permute(0, 1, 4, 2, 5, 3)
    return parts.reshape(n, depth, h * block, w * block)


def space_to_depth(node: Attributes, x: Tensor) -> Tensor:
    """(n, c, h·b, w·b) → (n, b²·c, h, w)."""
    block, (n, c, h, w) = node.get("blocksize"), x.shape
    parts = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(n, c * block**2, h // block, w // block)


def trilu(node: Attributes, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    """The triangle on one side of a diagonal."""
    offset = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, offset) if node.get("upper", 1) else torch.tril(x, offset)


def col2_im(node: Attributes, x: Tensor, image: Tensor, block: Tensor) -> Tensor:
    """Windows (n, c·k, windows) added up to images (n, c, h, w).

    Raises:
        NotImplementedError: The images have not two axes, or are padded unequally.
    """
    pads = node.ints("pads") or [0] * 4
    if len(image) != 2 or pads[:2] != pads[2:]:
        raise NotImplementedError("only of two axes that are padded equally")
    height, width = (int(n) for n in image.tolist())
    kernel = tuple(int(n) for n in block.tolist())
    dilations, strides = node.ints("dilations", (1, 1)), node.ints("strides", (1, 1))
    return functional.fold(x, (height, width), kernel, dilations, pads[:2], strides)  # type: ignore[arg-type]


def _padded_by_itself(x: Tensor, before: list[int], after: list[int], mode: str) -> Tensor:
    """By indices, one axis after the other: torch's own modes are not of all ranks."""
    for axis, (less, more) in enumerate(zip(before, after, strict=True)):
        if not (less or more):
            continue
        count = x.shape[axis]
        place = torch.arange(-less, count + more, device=x.device)
        if mode == "edge":
            place = place.clamp(0, count - 1)
        elif mode == "wrap":
            place = place.remainder(count)
        else:
            period = max(2 * (count - 1), 1)
            place = place.remainder(period)
            place = torch.where(place < count, place, period - place)
        x = x.index_select(axis, place)
    return x
