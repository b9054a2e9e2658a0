"""What flows into layers, and how much what they feed varies: the statistics of importance."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.frontier import Frontier
from calibration.windows import beyond
from compressor.layerwise.im2col import PIECE, Doubles, Floats
from compressor.layerwise.layers import Layer
from compressor.layerwise.moments import Moments
from compressor.layerwise.streams import stream_of


@dataclass(frozen=True)
class Activity:
    """A layer's input and what its output feeds.

    Attributes:
        moments: Moments of the rows of its input, without targets.
        spread: Σ ‖a - ā‖² of the residual stream that the layer feeds, or else of its own output.
    """

    moments: Moments
    spread: float


def activity(
    model: ir.Model,
    layers: Sequence[Layer],
    data: CalibrationSet,
    *,
    batch: int,
    memory: int,
    threads: int = 0,
    gram: bool = True,
) -> Mapping[str, Activity]:
    """Observe some layers in one pass; layer name → its activity.

    Args:
        model: Their model.
        layers: Layers whose moments fit into the memory together.
        data: Bound to the model's inputs.
        batch: Samples per run.
        memory: Bytes, of which a piece of patches takes an eighth at most.
        threads: Threads of the runtime; 0 is all.
        gram: Whether second moments are needed, or means will do.
    """
    front = Frontier(model, data, batch=batch, room=0, threads=threads)
    fed = {layer.name: _fed(layer) for layer in layers}
    names = [name for layer in layers for name in (layer.input.name or "", fed[layer.name])]
    moments: dict[str, Moments] = {}
    spreads = {layer.name: _Spread() for layer in layers}
    for found in front.batches(names):
        for layer in layers:
            for rows in _rows(layer, found[layer.input.name or ""], min(PIECE, memory // 8)):
                if layer.name not in moments:
                    origin = rows.mean(1, dtype=np.float64)
                    moments[layer.name] = Moments.about(origin, np.zeros((layer.groups, 0)))
                if gram:
                    moments[layer.name].add(rows, np.zeros((*rows.shape[:2], 0), rows.dtype))
                else:
                    moments[layer.name].add_mean(rows)
            spreads[layer.name].add(found[fed[layer.name]], layer.output_axis, layer.channels)
    return {name: Activity(seen, spreads[name].total()) for name, seen in moments.items()}


def why_not_gathered(layer: Layer, memory: int | None) -> str | None:
    """Why the moments of a layer's rows are not taken; None where they are.

    Args:
        layer: The layer.
        memory: Bytes that may be taken; None for half of what this machine has left.
    """
    why = beyond(moments_bytes(layer), memory)
    return None if why is None else f"its rows are {layer.width:,} wide: {why}"


def moments_bytes(layer: Layer) -> int:
    """What the moments of a layer take, with the copies that a solve makes."""
    return 3 * 8 * layer.groups * layer.width**2


def _fed(layer: Layer) -> str:
    stream = stream_of(layer)
    return (layer.output if stream is None else stream.value).name or ""


def _rows(layer: Layer, x: Floats, limit: int) -> Iterator[Floats]:
    for _, rows in layer.rows(x, limit):
        yield rows


class _Spread:
    """Σ ‖a - ā‖², the mean by channel."""

    def __init__(self) -> None:
        self._count = 0
        self._sum: Doubles = np.zeros(1)
        self._squares = 0.0

    def add(self, array: Floats, axis: int, channels: int) -> None:
        """See a batch, whose channels lie elsewhere where the stream turned or reshaped them."""
        if array.shape[axis] != channels:
            behind = [at for at in range(1, array.ndim) if array.shape[at] == channels]
            array, axis = (array, behind[0]) if behind else (array.reshape(-1, 1), 1)
        rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
        self._count += len(rows)
        self._sum = self._sum + rows.sum(0)
        self._squares += float(np.vdot(rows, rows))

    def total(self) -> float:
        """Sum of squares about the mean of all that was seen; positive."""
        found = self._squares - float((self._sum**2).sum()) / self._count
        return max(found, float(np.finfo(np.float64).tiny))
