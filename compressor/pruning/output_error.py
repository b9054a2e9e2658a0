"""How far the outputs of a model are from those of the original."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.frontier import Frontier, Values


def output_error(
    original: ir.Model, candidate: ir.Model, data: CalibrationSet, *, batch: int, threads: int = 0
) -> float:
    """`relative_error` of a candidate's floating outputs to the original's.

    Args:
        original: Makes y.
        candidate: Makes y'.
        data: Bound to the inputs.
        batch: Samples per run.
        threads: Threads of the runtime; 0 is all.
    """
    names = floating_outputs(original)
    sides = [
        Frontier(model, data, batch=batch, room=0, threads=threads).batches(names)
        for model in (original, candidate)
    ]
    return relative_error(names, *sides)


def relative_error(
    names: Sequence[str],
    wanted: Iterable[Mapping[str, Values]],
    made: Iterable[Mapping[str, Values]],
) -> float:
    """Σ ‖y - y'‖² over the named outputs, each relative to its variance; their mean.

    Args:
        names: The outputs.
        wanted: y, batch by batch.
        made: y', of the same batches.
    """
    wrong, squares, sums, count = (np.zeros(len(names)) for _ in range(4))
    for one, other in zip(wanted, made, strict=True):
        for i, name in enumerate(names):
            y = one[name].astype(np.float64)
            wrong[i] += ((y - other[name]) ** 2).sum()
            squares[i] += (y**2).sum()
            sums[i] += y.sum()
            count[i] += y.size
    spread = squares - sums**2 / np.maximum(count, 1)
    return float(np.mean(wrong / np.maximum(spread, np.finfo(np.float64).tiny)))


def floating_outputs(model: ir.Model) -> list[str]:
    """The outputs that errors are taken of."""
    return [
        value.name or ""
        for value in model.graph.outputs
        if value.dtype is None or value.dtype.is_floating_point()
    ]
