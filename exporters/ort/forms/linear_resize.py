"""Linear Resize of an image of known sizes, as two products with constant matrices.

    y[n, c] = A_h · x[n, c] · A_wᵀ

Linear interpolation is a sum over each axis of its own, and what an output position reads of an
axis of n positions is a row of A [m, n] (ONNX operator specification: Resize, `linear`). The
runtime's kernel is slow; a matrix of mostly zeros wins up to some size, which measuring finds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.constants import constant
from compressor.graph.emitting import Emitter, FoundNodes
from compressor.graph.matching import is_float, sizes
from exporters.ort.forms.rewriting import FoundForm

MOST = 256
"""Positions of an axis: of more, the matrices are mostly zeros and large."""


@dataclass(frozen=True)
class Resized(FoundNodes):
    """A linear Resize of the last two axes of x [batch, channels, height, width].

    Attributes:
        before: Height and width of what it reads.
        after: Of what it writes.
        scales: By which both are enlarged, as the operator takes them.
    """

    before: tuple[int, int]
    after: tuple[int, int]
    scales: tuple[float, float]
    operator: ClassVar[str] = "linear Resize"
    named: ClassVar[int] = 0


class LinearResize(FoundForm[Resized]):
    """Two constant MatMuls."""

    name = "linear-resize"
    words = "two constant MatMuls"
    computes = "floats"

    def found(self, model: ir.Model) -> Iterator[Resized]:
        """Of images of known sizes."""
        for node in model.graph:
            place = _resized(node)
            if place is not None:
                yield place

    def put(self, to: Emitter, place: Resized) -> None:
        """Rows first: fewer of them are read by the second product."""
        mode = _transform(place.nodes[0])
        (h, w), (height, width) = place.before, place.after
        across, down = (
            matrix(n, m, scale, mode)
            for n, m, scale in zip(place.before, place.after, place.scales, strict=True)
        )
        shape = sizes(place.x) or []
        first = to.emit(
            "MatMul", [place.x, to.weight("columns", down.T.copy())],
            [*shape[:2], h, width], "columns", whole=True,
        )  # fmt: skip
        del w
        made = to.emit(
            "MatMul", [to.weight("rows", across), first],
            [*shape[:2], height, width], "rows", whole=True,
        )  # fmt: skip
        to.replace(made)


def matrix(before: int, after: int, scale: float, mode: str) -> npt.NDArray[np.float32]:
    """[after, before]: what each position reads of an axis."""
    u = np.arange(after, dtype=np.float64)
    if mode == "align_corners":
        at = u * (before - 1) / max(after - 1, 1)
    elif mode == "asymmetric":
        at = u / scale
    elif mode == "pytorch_half_pixel" and after == 1:
        at = np.zeros(1)
    else:
        at = (u + 0.5) / scale - 0.5
    at = np.clip(at, 0, before - 1)
    low = np.floor(at).astype(int)
    high, part = np.minimum(low + 1, before - 1), at - low
    found = np.zeros((after, before))
    np.add.at(found, (np.arange(after), low), 1 - part)
    np.add.at(found, (np.arange(after), high), part)
    return found.astype(np.float32)


def _transform(node: ir.Node) -> str:
    return node.attributes.get_string("coordinate_transformation_mode", "half_pixel")


def _resized(node: ir.Node) -> Resized | None:
    attributes = node.attributes
    if node.op_type != "Resize" or node.domain != "" or len(node.inputs) < 3:
        return None
    known = {"half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"}
    if attributes.get_string("mode", "nearest") != "linear" or _transform(node) not in known:
        return None
    if attributes.get_int("antialias", 0) or "axes" in attributes:
        return None
    if attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    x, y = node.inputs[0], node.outputs[0]
    before, after = sizes(x), sizes(y)
    if x is None or before is None or after is None or not is_float(x):
        return None
    if len(before) != 4 or before[1] != after[1] or None in before[1:] or None in after[1:]:
        return None
    if max(one or 0 for one in (*before[2:], *after[2:])) > MOST:
        return None
    return _scaled(node, x, y, before, after)


def _scaled(
    node: ir.Node, x: ir.Value, y: ir.Value, before: list[int | None], after: list[int | None]
) -> Resized | None:
    """With the scales that it was given, or those that follow from sizes."""
    small, large = (before[2] or 0, before[3] or 0), (after[2] or 0, after[3] or 0)
    given = constant(node.inputs[2])
    if given is not None and given.size == 4:
        scales = [float(one) for one in given.numpy()]
        if scales[:2] != [1.0, 1.0]:
            return None
        return Resized((node,), x, y, small, large, (scales[2], scales[3]))
    if len(node.inputs) < 4 or node.inputs[3] is None or before[0] != after[0]:
        return None
    return Resized((node,), x, y, small, large, (large[0] / small[0], large[1] / small[1]))
