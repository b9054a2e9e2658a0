"""Resize, by the coordinates that ONNX defines, one axis after the other."""

import math

import torch
from torch import Tensor
from torch.nn import functional

from compressor.training.attributes import Attributes

_TAPS = {"linear": 2, "cubic": 4}


def resize(
    node: Attributes,
    x: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """X at other sizes, nearest, linear or cubic.

    Raises:
        NotImplementedError: It is antialiased, or crops.
    """
    how = node.text("coordinate_transformation_mode", "half_pixel")
    if how == "tf_crop_and_resize" or node.get("antialias", 0):
        raise NotImplementedError("antialiasing and cropping are not resized by")
    if node.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotImplementedError("sizes are taken as they are, not by their ratio")
    axes = [axis % x.ndim for axis in node.ints("axes", range(x.ndim)) or ()]
    if sizes is not None and sizes.numel():
        wanted = [int(n) for n in sizes.tolist()]
        factors = [n / x.shape[axis] for n, axis in zip(wanted, axes, strict=True)]
    else:
        factors = [] if scales is None else [float(s) for s in scales.tolist()]
        wanted = [math.floor(x.shape[axis] * s) for axis, s in zip(axes, factors, strict=True)]
    mode = node.text("mode", "nearest")
    repeats = _repeats(node, x, axes, factors, how)
    if mode == "nearest" and repeats is not None:
        return functional.interpolate(x, scale_factor=repeats, mode="nearest")
    for axis, factor, size in zip(axes, factors, wanted, strict=True):
        if size != x.shape[axis] or factor != 1:
            place = _coordinates(x, axis, factor, size, how)
            x = (
                _nearest(node, x, axis, place)
                if mode == "nearest"
                else _between(node, x, axis, place, mode)
            )
    return x


def upsample(node: Attributes, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """The same under its former name, which began at the corner."""
    factors = torch.tensor(node.get("scales")) if scales is None else scales
    values = {"mode": node.text("mode", "nearest"), "nearest_mode": "floor"}
    values["coordinate_transformation_mode"] = "asymmetric"
    again = Attributes(node.name, node.operator, node.version, 1, values)
    return resize(again, x, None, factors)


def grid_sample(node: Attributes, x: Tensor, grid: Tensor) -> Tensor:
    """X at places of a grid between -1 and 1."""
    modes = {"linear": "bilinear", "cubic": "bicubic"}
    mode = node.text("mode", "linear")
    return functional.grid_sample(
        x,
        grid,
        modes.get(mode, mode),
        node.text("padding_mode", "zeros"),
        bool(node.get("align_corners", 0)),
    )


def _repeats(
    node: Attributes, x: Tensor, axes: list[int], factors: list[float], how: str
) -> list[float] | None:
    """Whole factors of what lies behind samples and channels, if each element is only repeated."""
    by_axis = dict(zip(axes, factors, strict=True))
    whole = all(f == int(f) and f >= 1 for f in factors)
    inner = by_axis.get(0, 1) == by_axis.get(1, 1) == 1 and 3 <= x.ndim <= 5
    rounding = node.text("nearest_mode", "round_prefer_floor")
    floors = how == "asymmetric" and rounding == "floor"
    halves = how == "half_pixel" and rounding.startswith("round_prefer")
    if not (whole and inner and (floors or halves)):
        return None
    return [by_axis.get(axis, 1.0) for axis in range(2, x.ndim)]


def _coordinates(x: Tensor, axis: int, factor: float, size: int, how: str) -> Tensor:
    """Where each element of the result lies in x."""
    place = torch.arange(size, dtype=torch.float32, device=x.device)
    if how == "align_corners":
        return place * ((x.shape[axis] - 1) / max(size - 1, 1))
    if how == "asymmetric":
        return place / factor
    if how == "pytorch_half_pixel" and size <= 1:
        return torch.zeros_like(place)
    if how == "half_pixel_symmetric":
        adjustment = size / (factor * x.shape[axis])
        centre = x.shape[axis] / 2
        return centre * (1 - adjustment) + (place + 0.5) / factor - 0.5
    return (place + 0.5) / factor - 0.5


def _nearest(node: Attributes, x: Tensor, axis: int, place: Tensor) -> Tensor:
    rounding = node.text("nearest_mode", "round_prefer_floor")
    if rounding == "floor":
        rounded = torch.floor(place)
    elif rounding == "ceil":
        rounded = torch.ceil(place)
    elif rounding == "round_prefer_ceil":
        rounded = torch.floor(place + 0.5)
    else:
        rounded = torch.ceil(place - 0.5)
    return x.index_select(axis, rounded.long().clamp(0, x.shape[axis] - 1))


def _between(node: Attributes, x: Tensor, axis: int, place: Tensor, mode: str) -> Tensor:
    """Weighted sums of two or four neighbours; what lies outside is the edge, or left out."""
    taps, count = _TAPS[mode], x.shape[axis]
    first = torch.floor(place).long() - (taps // 2 - 1)
    at = first + torch.arange(taps, device=x.device)[:, None]
    distance = torch.abs(place - at)
    weights = _cubic(distance, node.get("cubic_coeff_a", -0.75)) if taps == 4 else 1 - distance
    if node.get("exclude_outside", 0):
        weights = weights * ((at >= 0) & (at < count))
        weights = weights / weights.sum(0)
    shape = [-1 if a == axis else 1 for a in range(x.ndim)]
    parts = (
        x.index_select(axis, row.clamp(0, count - 1)) * weight.to(x.dtype).reshape(shape)
        for row, weight in zip(at, weights, strict=True)
    )
    return sum(parts, torch.zeros((), dtype=x.dtype, device=x.device))


def _cubic(distance: Tensor, a: float) -> Tensor:
    """Keys' kernel (1981, Cubic convolution interpolation)."""
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))
