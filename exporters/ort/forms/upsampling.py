"""Convolutions that enlarge an image, phase by phase.

ConvTranspose of stride s, and Conv behind a nearest Resize by s, have one algebra. Along an axis of
n positions, what an output position reads depends on its phase b, its remainder by s, alone:

    y[s·a + b] = Σ_e V[b, e] · x[a + e] + bias,        V[b, e] = Σ of the kernel's taps that read e

with x zero outside of 0 … n-1. A ConvTranspose has its tap t at e = (b + p - d·t) / s where s
divides that (p: padding at the beginning, d: dilation). A Resize followed by a Conv has it at
e = ⌊(b - p + d·t) / s⌋, where several taps meet at one position: their sum is one tap, a 3 x 3
kernel behind a doubling has 2 x 2 (ONNX operator specification: ConvTranspose, Resize, Conv).
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.constants import constant, scalar

Weights = npt.NDArray[np.float32]
Taps = Mapping[int, tuple[int, ...]]
"""Offset of the input → the kernel's taps that read there."""

POINTWISE = frozenset({"Relu", "LeakyRelu", "Clip", "Sigmoid"})
"""Functions of single numbers that have integer kernels, or vanish into those of a convolution.

It is the same before positions are interleaved and after; before, all of it stays integer.
"""
EXAMINED = 64
"""Positions of a resized axis that are held against what nearest by a whole number gives."""


@dataclass(frozen=True)
class Axis:
    """One axis of an image.

    Attributes:
        stride: Output positions to an input position.
        surplus: The output has stride · n + surplus positions, n those of the input.
        phases: For each phase what it reads.
        size: n; None where it is open.
    """

    stride: int
    surplus: int
    phases: tuple[Taps, ...]
    size: int | None

    def shifted(self, by: int) -> "Axis":
        """The same with `by` positions more at the beginning."""
        moved = []
        for b in range(self.stride):
            whole, phase = divmod(b - by, self.stride)
            moved.append({e + whole: taps for e, taps in self.phases[phase].items()})
        return Axis(self.stride, self.surplus + by, tuple(moved), self.size)

    @property
    def span(self) -> tuple[int, int]:
        """The least and the greatest offset of all phases."""
        offsets = [e for taps in self.phases for e in taps]
        return min(offsets), max(offsets)

    @property
    def extra(self) -> int:
        """Of how many positions more than n each phase needs to have, to cover the output."""
        return math.ceil(self.surplus / self.stride)

    def compact(self) -> tuple["Axis", int]:
        """Shifted so that all phases together read the fewest positions, and by how much."""
        shifts = [(self.shifted(by), by) for by in range(self.stride)]
        return min(shifts, key=lambda one: one[0].span[1] - one[0].span[0])


@dataclass(frozen=True)
class Upsampling:
    """A convolution that enlarges, and the activation behind it.

    Attributes:
        nodes: What computes it, in order; the last writes `y`.
        convolution: The node that has the weight.
        activation: A function of single numbers behind it; None where there is none.
        axes: Of the image.
        weight: [outputs, inputs of a group, taps...], as Conv has it.
        bias: [outputs]; None where there is none.
        groups: Groups of channels.
        x: What it reads.
        y: What it writes, behind the activation.
    """

    nodes: tuple[ir.Node, ...]
    convolution: ir.Node
    activation: ir.Node | None
    axes: tuple[Axis, ...]
    weight: Weights
    bias: Weights | None
    groups: int
    x: ir.Value
    y: ir.Value

    @property
    def name(self) -> str:
        """Of the node that has the weight."""
        return self.convolution.name or ""

    @property
    def operator(self) -> str:
        """What it is, for people."""
        kind = self.convolution.op_type
        return kind if kind == "ConvTranspose" else f"Resize + {kind}"

    @property
    def outputs(self) -> int:
        """Channels that it writes."""
        return int(self.weight.shape[0])

    def kernel(self, taps: tuple[Taps, ...], spans: tuple[tuple[int, int], ...]) -> Weights:
        """The weight of a convolution of stride 1 that computes one phase.

        Args:
            taps: Of each axis, what the phase reads.
            spans: Of each axis, the offsets that the convolution reads, both ends included.

        Returns:
            [outputs, inputs of a group, hi - lo + 1, ...].
        """
        found = self.weight
        for axis, (read, (low, high)) in enumerate(zip(taps, spans, strict=True)):
            chosen = np.zeros((high - low + 1, self.weight.shape[2 + axis]), np.float32)
            for offset, summed in read.items():
                chosen[offset - low, list(summed)] = 1
            found = np.moveaxis(np.tensordot(found, chosen, ([2 + axis], [1])), -1, 2 + axis)
        return np.ascontiguousarray(found)


def all_phases(axes: tuple[Axis, ...]) -> Iterator[tuple[Taps, ...]]:
    """What the phases of an image read, the last axis running fastest."""
    yield from product(*(axis.phases for axis in axes))


def upsamplings(model: ir.Model) -> Iterator[Upsampling]:
    """Those of the main graph that can be told: weights constant, sizes of the standard's rules."""
    for node in model.graph:
        found = _transposed(node) if node.op_type == "ConvTranspose" else _resized(node)
        if found is not None:
            yield found


def _transposed(node: ir.Node) -> Upsampling | None:
    weight = _weight(node)
    attributes = node.attributes
    if weight is None or "output_shape" in attributes:
        return None
    axes = weight.ndim - 2
    read = _Attributes.of(node, weight)
    more = attributes.get_ints("output_padding", ()) or [0] * axes
    if read is None:
        return None
    sizes = _sizes(node.inputs[0], axes)
    found = []
    for i, taps in enumerate(weight.shape[2:]):
        stride, dilation, begin = read.strides[i], read.dilations[i], read.pads[i]
        phases: list[dict[int, tuple[int, ...]]] = [{} for _ in range(stride)]
        for t in range(taps):
            for b in range(stride):
                offset, rest = divmod(b + begin - dilation * t, stride)
                if rest == 0:
                    phases[b][offset] = (*phases[b].get(offset, ()), t)
        reach = (taps - 1) * dilation + 1
        surplus = reach - stride - begin - read.pads[axes + i] + more[i]
        found.append(Axis(stride, surplus, tuple(phases), sizes[i]))
    groups = read.groups
    inputs, outputs = weight.shape[:2]  # outputs of a group
    split = weight.reshape(groups, inputs // groups, outputs, *weight.shape[2:])
    plain = np.moveaxis(split, 1, 2).reshape(groups * outputs, inputs // groups, *weight.shape[2:])
    return _found((node,), node, tuple(found), plain, groups)


def _resized(node: ir.Node) -> Upsampling | None:
    if node.op_type != "Conv" or node.domain != "":
        return None
    weight, value = _weight(node), node.inputs[0]
    resize = None if value is None else value.producer()
    if weight is None or resize is None or resize.op_type != "Resize":
        return None
    assert value is not None, "it has a producer"
    axes = weight.ndim - 2
    factors, read = _factors(resize, axes), _Attributes.of(node, weight)
    if factors is None or read is None or read.strides != [1] * axes or not _is_inner(value):
        return None
    sizes = _sizes(resize.inputs[0], axes)
    found = []
    for i, taps in enumerate(weight.shape[2:]):
        factor, dilation, begin = factors[i], read.dilations[i], read.pads[i]
        phases: list[dict[int, tuple[int, ...]]] = [{} for _ in range(factor)]
        for t in range(taps):
            for b in range(factor):
                offset = (b - begin + dilation * t) // factor
                phases[b][offset] = (*phases[b].get(offset, ()), t)
        surplus = begin + read.pads[axes + i] - (taps - 1) * dilation
        found.append(Axis(factor, surplus, tuple(phases), sizes[i]))
    return _found((resize, node), node, tuple(found), weight, read.groups)


@dataclass(frozen=True)
class _Attributes:
    """Of a convolution, with their defaults; pads are those at all beginnings, then at all ends."""

    strides: list[int]
    dilations: list[int]
    pads: list[int]
    groups: int

    @staticmethod
    def of(node: ir.Node, weight: Weights) -> "_Attributes | None":
        """None where padding follows from sizes."""
        axes, attributes = weight.ndim - 2, node.attributes
        if attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
            return None
        return _Attributes(
            list(attributes.get_ints("strides", ()) or [1] * axes),
            list(attributes.get_ints("dilations", ()) or [1] * axes),
            list(attributes.get_ints("pads", ()) or [0] * 2 * axes),
            attributes.get_int("group", 1),
        )


def _weight(node: ir.Node) -> Weights | None:
    """Of one or two axes, in float32, constant, as the bias is."""
    if len(node.inputs) < 2 or node.domain != "":
        return None
    tensor = constant(node.inputs[1])
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) not in (3, 4):
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None and constant(bias) is None:
        return None
    return np.asarray(tensor.numpy(), np.float32)


def _sizes(value: ir.Value | None, axes: int) -> list[int | None]:
    shape = None if value is None else value.shape
    if shape is None or len(shape) != axes + 2:
        return [None] * axes
    return [size if isinstance(size, int) else None for size in shape[2:]]


def _is_inner(value: ir.Value) -> bool:
    """Whether one node reads it and nobody else sees it."""
    return len(value.uses()) == 1 and not value.is_graph_output()


def _found(
    nodes: tuple[ir.Node, ...],
    convolution: ir.Node,
    axes: tuple[Axis, ...],
    weight: Weights,
    groups: int,
) -> Upsampling | None:
    """With the bias, and the activation behind it."""
    x, y = nodes[0].inputs[0], convolution.outputs[0]
    if x is None or constant(x) is not None or not any(taps for a in axes for taps in a.phases):
        return None
    tensor = constant(convolution.inputs[2]) if len(convolution.inputs) > 2 else None
    bias = None if tensor is None else np.asarray(tensor.numpy(), np.float32)
    behind = next(iter(y.consumers())) if _is_inner(y) else None
    activation = behind if behind is not None and _is_pointwise(behind) else None
    if activation is not None:
        nodes, y = (*nodes, activation), activation.outputs[0]
    return Upsampling(nodes, convolution, activation, axes, weight, bias, groups, x, y)


def _is_pointwise(node: ir.Node) -> bool:
    bounds = node.inputs[1:]
    return (
        node.op_type in POINTWISE
        and node.domain == ""
        and all(bound is None or scalar(bound, 0.0) is not None for bound in bounds)
    )


def _factors(resize: ir.Node, axes: int) -> list[int] | None:
    """The whole numbers that a nearest Resize enlarges the axes of an image by."""
    attributes = resize.attributes
    if attributes.get_string("mode", "nearest") != "nearest" or len(resize.inputs) < 3:
        return None
    if "axes" in attributes:
        return None
    scales = _scales(resize)
    if scales is None or len(scales) != axes + 2 or list(scales[:2]) != [1.0, 1.0]:
        return None
    factors = [round(scale) for scale in scales[2:]]
    if any(f < 1 or f != scale for f, scale in zip(factors, scales[2:], strict=True)):
        return None
    if all(f == 1 for f in factors) or not all(_repeats(resize, f) for f in factors):
        return None
    return factors


def _scales(resize: ir.Node) -> list[float] | None:
    """By which each axis is enlarged, said as such or by sizes that are known."""
    tensor = constant(resize.inputs[2])
    if tensor is not None and tensor.size:
        return [float(scale) for scale in tensor.numpy()]
    sizes = constant(resize.inputs[3]) if len(resize.inputs) > 3 else None
    shape = None if resize.inputs[0] is None else resize.inputs[0].shape
    if sizes is None or shape is None or len(shape) != sizes.size:
        return None
    before = [size if isinstance(size, int) else 0 for size in shape[2:]]
    after = [int(size) for size in sizes.numpy()]
    if 0 in before or shape[1] != after[1] or after[0] != shape[0]:
        return None
    return [1.0, 1.0, *(b / a for a, b in zip(before, after[2:], strict=True))]


def _repeats(resize: ir.Node, factor: int) -> bool:
    """Whether each position is repeated `factor` times: y[u] = x[⌊u / factor⌋]."""
    attributes = resize.attributes
    transform = attributes.get_string("coordinate_transformation_mode", "half_pixel")
    rounding = attributes.get_string("nearest_mode", "round_prefer_floor")
    u = np.arange(EXAMINED * factor)
    if transform == "asymmetric":
        at = u / factor
    elif transform in ("half_pixel", "pytorch_half_pixel"):
        at = (u + 0.5) / factor - 0.5
    else:
        return False
    nearest = _NEAREST[rounding](at)
    return bool((np.clip(nearest, 0, EXAMINED - 1) == u // factor).all())


_NEAREST: Mapping[str, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
}
