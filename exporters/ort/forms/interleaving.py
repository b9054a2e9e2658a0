"""Phases that stand as channels, put side by side as positions.

From [batch, phases · channels, positions of each phase] to [batch, channels, positions]. With the
channels last that is a Reshape of neighbouring axes and one Transpose of small blocks, all of it on
8-bit integers, and the runtime's own integer convolution has the channels last anyway: between two
of them no transposition of whole images is left. Sizes that are open take DepthToSpace.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compressor.graph.emitting import Emitter, reshaped
from exporters.ort.forms.upsampling import Axis


def why_not_interleaved(axes: tuple[Axis, ...], groups: int) -> str | None:
    """Why phases cannot be put side by side; None where they can."""
    if len(axes) == 1 or all(axis.size is not None for axis in axes):
        return None
    if groups > 1:
        return "groups of an image of open sizes"
    if len({axis.stride for axis in axes}) > 1:
        return "unlike strides of an image of open sizes"
    return None


def interleaved(
    to: Emitter,
    value: ir.Value,
    axes: tuple[Axis, ...],
    channels: int,
    groups: int,
    begin: list[int],
) -> ir.Value:
    """Put phases side by side, and cut off what is too much.

    Args:
        to: Where nodes are put.
        value: [batch, groups · phases · channels of a group, positions...].
        axes: Of the image that is wanted, before anything was put at its beginning.
        channels: Of all groups together.
        groups: Groups of channels.
        begin: Positions at the beginning of each axis that are not wanted.
    """
    if all(axis.stride == 1 for axis in axes):
        return value
    assert value.shape is not None, "what is emitted has a shape"
    inner = [size if isinstance(size, int) else -1 for size in value.shape[2:]]
    if len(axes) > 1 and -1 in inner:
        return _by_depth(to, value, axes, channels, begin)
    last = to.emit(
        "Transpose", [value], [*_open(inner), *_open_values(value.shape[1:2])], "channels_last",
        perm=[0, *range(2, len(axes) + 2), 1],
    )  # fmt: skip
    placed = _side_by_side(to, last, axes, inner, channels, groups)
    placed = _cut(to, placed, axes, begin, first=1)
    perm = [0, len(axes) + 1, *range(1, len(axes) + 1)]
    shape = [channels, *_open(_lengths(axes))]
    return to.emit("Transpose", [placed], shape, "channels_first", perm=perm)


def _side_by_side(
    to: Emitter,
    last: ir.Value,
    axes: tuple[Axis, ...],
    inner: list[int],
    channels: int,
    groups: int,
) -> ir.Value:
    """[batch, positions..., groups · phases · c] → [batch, positions · strides..., channels]."""
    strides = [axis.stride for axis in axes]
    whole = [size if size < 0 else size * s for size, s in zip(inner, strides, strict=True)]
    if len(axes) > 1 or groups > 1:
        few = [groups] if groups > 1 else []
        apart = reshaped(to, last, [*inner, *few, *strides, channels // groups], "phases")
        count, ahead = len(axes), 1 + len(axes) + len(few)
        pairs = [axis for i in range(count) for axis in (1 + i, ahead + i)]
        perm = [0, *pairs, *([1 + count] if few else []), ahead + count]
        assert apart.shape is not None, "what is emitted has a shape"
        shape = [apart.shape[i] for i in perm[1:]]
        last = to.emit("Transpose", [apart], _open_values(shape), "beside", perm=perm)
    return reshaped(to, last, [*whole, channels], "positions")


def _by_depth(
    to: Emitter, value: ir.Value, axes: tuple[Axis, ...], channels: int, begin: list[int]
) -> ir.Value:
    stride = axes[0].stride
    shape = [channels, *[None] * len(axes)]
    placed = to.emit("DepthToSpace", [value], shape, "positions", blocksize=stride, mode="DCR")
    return _cut(to, placed, axes, begin, first=2)


def _cut(
    to: Emitter, value: ir.Value, axes: tuple[Axis, ...], begin: list[int], first: int
) -> ir.Value:
    """Without what is too much at the beginning and at the end of each axis."""
    # Phases are as long as the longest has to be: the end has what is missing to a whole stride.
    ends = [
        axis.stride * shifted.extra - shifted.surplus
        for axis, shifted in zip(axes, _shifted(axes, begin), strict=True)
    ]
    cut = [i for i in range(len(axes)) if begin[i] or ends[i]]
    if not cut:
        return value
    assert value.shape is not None, "what is emitted has a shape"
    most = np.iinfo(np.int64).max
    bounds = (
        [begin[i] for i in cut],
        [-ends[i] if ends[i] else most for i in cut],
        [first + i for i in cut],
    )
    names = ("starts", "ends", "axes")
    inputs = [
        to.weight(name, np.array(numbers, np.int64))
        for name, numbers in zip(names, bounds, strict=True)
    ]
    shape = _open_values(value.shape[1:])
    for i, length in enumerate(_lengths(axes)):
        shape[first - 1 + i] = length if length >= 0 else None
    return to.emit("Slice", [value, *inputs], shape, "cut")


def _shifted(axes: tuple[Axis, ...], begin: list[int]) -> list[Axis]:
    return [axis.shifted(by) for axis, by in zip(axes, begin, strict=True)]


def _lengths(axes: tuple[Axis, ...]) -> list[int]:
    """Positions of the output; -1 where that is open."""
    return [-1 if a.size is None else a.stride * a.size + a.surplus for a in axes]


def _open(sizes: list[int]) -> list[int | None]:
    return [size if size >= 0 else None for size in sizes]


def _open_values(sizes: Sequence[object]) -> list[int | None]:
    return [size if isinstance(size, int) else None for size in sizes]
