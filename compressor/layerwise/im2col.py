"""What a kernel reads at each of its positions (im2col), for convolutions of any rank."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Floats = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PIECE: Final = 2**26
"""Bytes of patches that are held at once, at most."""

Pads = list[tuple[int, int]]
"""Before and after, by axis; negative ones crop."""


class Sliding:
    """The kernel of a Conv, or the mirrored one of a ConvTranspose over its spread input.

    A transposed convolution is a convolution of stride 1 over the input with `stride` - 1 zeros
    between neighbours, whose kernel is turned round (Dumoulin and Visin 2016, arXiv 1603.07285,
    section 4.6).
    """

    def __init__(self, node: ir.Node, kernel: tuple[int, ...]) -> None:
        """Read the attributes.

        Args:
            node: A Conv or a ConvTranspose.
            kernel: Sizes of its kernel.
        """
        self._attributes, self._kernel = node.attributes, kernel
        self._transposed = node.op_type == "ConvTranspose"
        ones = (1,) * len(kernel)
        self._stride = tuple(self._attributes.get_ints("strides", ones))
        self._dilation = tuple(self._attributes.get_ints("dilations", ones))
        self._extent = [(k - 1) * d + 1 for k, d in zip(kernel, self._dilation, strict=True)]

    def sizes(self, size: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the output for those of the input."""
        return self._geometry(size)[0]

    def patches(self, x: Floats, groups: int, positions: Ints | None = None) -> Floats:
        """(n, channels, ...) → (groups, n · positions, channels / groups · kernel).

        Args:
            x: The input.
            groups: Parts of its channels.
            positions: Output positions of each sample, (n, positions); None for all.
        """
        pads = self._geometry(x.shape[2:])[1]
        stride = self._stride
        if self._transposed:
            x, stride = _spread(x, stride), (1,) * len(stride)
        around = [(0, 0), (0, 0), *((max(a, 0), max(b, 0)) for a, b in pads)]
        x = np.pad(_cropped(x, pads), around)
        rank = len(self._kernel)
        axes = tuple(range(2, 2 + rank))
        windows = np.lib.stride_tricks.sliding_window_view(x, self._extent, axes)
        steps = (1, 1, *stride, *self._dilation)
        windows = windows[tuple(slice(None, None, step) for step in steps)]
        n, channels, *rest = windows.shape
        if positions is not None:
            places = np.unravel_index(positions, rest[:rank])
            found = np.moveaxis(windows, 1, 1 + rank)[(np.arange(n)[:, None], *places)]
            rows = found.reshape(positions.size, groups, -1)
            return np.ascontiguousarray(rows.swapaxes(0, 1))
        split = windows.reshape(n, groups, channels // groups, *rest)
        order = (1, 0, *range(3, 3 + rank), 2, *range(3 + rank, 3 + 2 * rank))
        width = channels // groups * int(np.prod(self._kernel))
        return split.transpose(order).reshape(groups, -1, width)

    def adjoint(self, gradient: Floats, shape: Sequence[int], weight: Floats) -> Floats:
        """What a gradient at the output is at the input, for a Conv without groups.

        Args:
            gradient: (n, outputs, ...).
            shape: Shape of the input.
            weight: (outputs, inputs, *kernel).
        """
        pads = self._geometry(shape[2:])[1]
        wide = [size + max(a, 0) + max(b, 0) for size, (a, b) in zip(shape[2:], pads, strict=True)]
        total = np.zeros((*shape[:2], *wide), gradient.dtype)
        sizes = gradient.shape[2:]
        flat = gradient.reshape(*gradient.shape[:2], -1)
        for offset in np.ndindex(*self._kernel):
            part = weight[(slice(None), slice(None), *offset)].T @ flat
            where = [
                slice(o * d, o * d + (s - 1) * t + 1, t)
                for o, d, s, t in zip(offset, self._dilation, sizes, self._stride, strict=True)
            ]
            total[(slice(None), slice(None), *where)] += part.reshape(*shape[:2], *sizes)
        return _cropped(total, [(-max(a, 0), -max(b, 0)) for a, b in pads])

    def _geometry(self, size: Sequence[int]) -> tuple[tuple[int, ...], Pads]:
        """Output sizes, and what to pad of the (spread) input."""
        if self._transposed:
            return self._transposed_geometry(size)
        pads = self._pads(size)
        sizes = [
            (s + a + b - e) // t + 1
            for s, (a, b), e, t in zip(size, pads, self._extent, self._stride, strict=True)
        ]
        return tuple(sizes), pads

    def _pads(self, size: Sequence[int]) -> Pads:
        auto = self._attributes.get_string("auto_pad", "NOTSET")
        none = (0, 0) * len(size)
        if not auto.startswith("SAME"):
            return _pairs(self._attributes.get_ints("pads", none) if auto == "NOTSET" else none)
        totals = [
            max((-(-s // t) - 1) * t + e - s, 0)
            for s, e, t in zip(size, self._extent, self._stride, strict=True)
        ]
        return _divided(totals, more_after=auto == "SAME_UPPER")

    def _transposed_geometry(self, size: Sequence[int]) -> tuple[tuple[int, ...], Pads]:
        """The gradient of a convolution pads by extent - 1 - pad, and behind by the rest."""
        none = (0,) * len(size)
        extra = self._attributes.get_ints("output_padding", none)
        full = [
            (s - 1) * t + e + o
            for s, t, e, o in zip(size, self._stride, self._extent, extra, strict=True)
        ]
        asked = self._attributes.get_ints("output_shape", ())
        auto = self._attributes.get_string("auto_pad", "NOTSET")
        if asked or auto.startswith("SAME"):
            sizes = list(asked) or [s * t for s, t in zip(size, self._stride, strict=True)]
            totals = [max(f - z, 0) for f, z in zip(full, sizes, strict=True)]
            pads = _divided(totals, more_after=auto == "SAME_UPPER")
        else:
            pads = _pairs(self._attributes.get_ints("pads", none * 2))
            sizes = [f - a - b for f, (a, b) in zip(full, pads, strict=True)]
        around = [
            (e - 1 - a, e - 1 - b + o)
            for (a, b), e, o in zip(pads, self._extent, extra, strict=True)
        ]
        return tuple(sizes), around


def _divided(totals: Sequence[int], *, more_after: bool) -> Pads:
    less = [(t // 2, t - t // 2) for t in totals]
    return less if more_after else [(b, a) for a, b in less]


def _pairs(pads: Sequence[int]) -> Pads:
    half = len(pads) // 2
    return list(zip(pads[:half], pads[half:], strict=True))


def _spread(x: Floats, stride: tuple[int, ...]) -> Floats:
    """Zeros between neighbours, `stride` - 1 of them."""
    sizes = [(s - 1) * t + 1 for s, t in zip(x.shape[2:], stride, strict=True)]
    wide = np.zeros((*x.shape[:2], *sizes), x.dtype)
    wide[(slice(None), slice(None), *(slice(None, None, t) for t in stride))] = x
    return wide


def _cropped(x: Floats, pads: Pads) -> Floats:
    pick = [slice(max(-a, 0), s - max(-b, 0)) for (a, b), s in zip(pads, x.shape[2:], strict=True)]
    return x[(slice(None), slice(None), *pick)]
