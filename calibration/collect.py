"""One streaming pass over the data: taps values of a graph and feeds the observers.

The reductions happen inside the graph (ReduceMin, ReduceMax), so that no activation leaves the
runtime and memory does not depend on the number of samples.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from calibration.dataset import Batch, CalibrationSet
from calibration.observers import MinMax
from calibration.stats import CalibrationStats
from compressor.errors import DataError
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Array

REDUCTIONS = ("ReduceMin", "ReduceMax")


def collect(
    model: ir.Model,
    values: Sequence[str],
    data: CalibrationSet,
    *,
    batch: int = 32,
    threads: int = 0,
    advance: Callable[[int], None] = lambda samples: None,
) -> CalibrationStats:
    """Observe `values` of `model` over all of `data`.

    Args:
        model: The float graph; it is not changed.
        values: Names of float values: graph inputs or outputs of nodes of the main graph.
        data: Bound to the model's inputs.
        batch: Samples per run; a graph with its batch baked in uses that one.
        threads: Threads of the runtime; 0 is all.
        advance: Told the number of samples after each run.

    Raises:
        DataError: The data is empty, or a value is not finite on it.
    """
    fixed = next((s.fixed_batch for s in input_specs(model) if s.fixed_batch), None)
    session = open_session(_tapped(model, values), threads=threads, spin=False)
    names = [_tap(value, reduction) for value in values for reduction in REDUCTIONS]
    observed = dict.fromkeys(values, MinMax())
    samples = 0
    for piece in data.batches(fixed or batch):
        extremes = session.run(names, _feeds(piece, fixed)) if names else []
        for value, low, high in zip(values, extremes[::2], extremes[1::2], strict=True):
            observed[value] = observed[value].update(float(low), float(high), name=value)
        samples += len(piece)
        advance(len(piece))
    if samples == 0:
        raise DataError(f"{data.description} holds no samples to calibrate on")
    return CalibrationStats(observed, samples)


def _tap(value: str, reduction: str) -> str:
    return f"{value}/{reduction}"


def _tapped(model: ir.Model, values: Sequence[str]) -> ir.Model:
    """A clone whose outputs are the reductions of `values` and nothing else."""
    clone = model.clone()
    graph = clone.graph
    by_name = {value.name: value for value in graph.inputs}
    by_name |= {value.name: value for node in graph for value in node.outputs}
    outputs = []
    for name in values:
        for reduction in REDUCTIONS:
            node = ir.node(reduction, [by_name[name]], {"keepdims": 0})
            tap = node.outputs[0]
            tap.name, tap.dtype, tap.shape = _tap(name, reduction), ir.DataType.FLOAT, ir.Shape([])
            graph.append(node)
            outputs.append(tap)
    graph.outputs[:] = outputs
    return clone


def _feeds(piece: Batch, fixed: int | None) -> dict[str, Array]:
    """The batch, filled up by repeating samples where the graph wants an exact size.

    Extremes do not change by repetition.
    """
    if fixed is None or len(piece) == fixed:
        return piece.inputs
    index = np.arange(fixed) % len(piece)
    return {name: array[index] for name, array in piece.inputs.items()}
