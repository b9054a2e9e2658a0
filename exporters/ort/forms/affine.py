"""A factor and a shift a channel, as norms end in, in one pass.

    γ_c · x + β_c = BatchNormalization(x; γ, β, mean 0, variance 1, ε 0)

Mul and Add of constants with the channels on axis 1. Behind a layer with weights folding has taken
both away; behind GroupNormalization and SiLU's layers they stay, and each is a pass over an image.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.emitting import Emitter, FoundNodes
from compressor.graph.matching import floats, is_float, only_reader, operands, sizes
from exporters.ort.forms.rewriting import FoundForm

Row = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Affine(FoundNodes):
    """Mul and Add of constants that differ by channel, of x [batch, channels, positions...].

    Attributes:
        scale: γ, [channels].
        shift: β, [channels].
    """

    scale: Row
    shift: Row
    operator: ClassVar[str] = "factor and shift a channel"
    named: ClassVar[int] = 0


class ChannelAffine(FoundForm[Affine]):
    """One BatchNormalization."""

    name = "channel-affine"
    words = "one BatchNormalization"
    computes = "floats"

    def found(self, model: ir.Model) -> Iterator[Affine]:
        """Wherever both are constants of known channels."""
        for node in model.graph:
            place = _affine(node)
            if place is not None:
                yield place

    def put(self, to: Emitter, place: Affine) -> None:
        """The operator."""
        to.replace(affine(to, place.x, place.scale, place.shift))


def affine(to: Emitter, x: ir.Value, scale: Row, shift: Row) -> ir.Value:
    """γ_c · x + β_c, of a value of known rank."""
    rows = {
        "scale": scale,
        "shift": shift,
        "mean": np.zeros_like(scale),
        "variance": np.ones_like(scale),
    }
    inputs = [x, *(to.weight(name, row) for name, row in rows.items())]
    shape = sizes(x) or []
    return to.emit("BatchNormalization", inputs, shape, "affine", whole=True, epsilon=0.0)


def _affine(mul: ir.Node) -> Affine | None:
    both = operands(mul) if mul.op_type == "Mul" and mul.domain == "" else None
    add = None if both is None else only_reader(mul.outputs[0], "Add")
    more = None if add is None else operands(add)
    if both is None or add is None or more is None or more[0] is not mul.outputs[0]:
        return None
    x, shape = both[0], sizes(both[0])
    if not is_float(x) or shape is None or len(shape) < 3 or shape[1] is None:
        return None
    scale, shift = (channel_row(v, len(shape), shape[1]) for v in (both[1], more[1]))
    if scale is None or shift is None:
        return None
    return Affine((mul, add), x, add.outputs[0], scale, shift)


def channel_row(value: ir.Value, rank: int, channels: int) -> Row | None:
    """A constant that differs by channel alone, where those are axis 1 of `rank` axes."""
    array = floats(value)
    if array is None or array.ndim > rank or array.size not in (1, channels):
        return None
    full = array.reshape(*[1] * (rank - array.ndim), *array.shape)
    if full.shape[1] != array.size:
        return None
    return np.ascontiguousarray(np.broadcast_to(full.reshape(-1), (channels,)))
