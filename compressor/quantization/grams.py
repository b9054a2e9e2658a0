"""Second moments of what layers read, in one streaming pass over the calibration data.

    H = Σ x·xᵀ over all rows x of an input (..., k)

The products are taken inside the graph, so that a (k, k) matrix leaves the runtime and not the
activations, and are summed in float64. Layers that read one value share its sum. Every fourth batch
is summed apart: those judge what the others chose. Memory does not grow with the samples; inputs
whose sums do not fit are seen in further passes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.collect import MEMORY, fitting_batch, layout_of
from calibration.dataset import CalibrationSet
from calibration.gaps import without_gaps
from calibration.taps import Taps, feeds_of
from calibration.windows import beyond, parts
from compressor.errors import DataError
from compressor.graph.session import open_session
from compressor.quantization.blocks import Doubles
from compressor.system.progress import SILENT, Progress

HELD = 4
"""Every fourth batch is held out; of fewer the last."""
_COPIES = 4
"""Matrices of float64 that a sum takes: both sums, and the product of a batch twice in float32."""


@dataclass(frozen=True)
class Gram:
    """Σ x·xᵀ of one input.

    Attributes:
        seen: Over the samples that decide, (k, k).
        held: Over those that judge; the same where there is one batch only.
    """

    seen: Doubles
    held: Doubles


def why_not_summed(width: int, memory: int | None) -> str | None:
    """Why the sums of an input of so many values are not taken; None where they are."""
    why = beyond(_COPIES * 8 * width * width, memory)
    return None if why is None else f"its rows are {width:,} wide: {why}"


def each_gram(
    model: ir.Model,
    widths: Mapping[str, int],
    data: CalibrationSet,
    use: Callable[[str, Gram], None],
    *,
    batch: int = 32,
    memory: int | None = None,
    progress: Progress = SILENT,
) -> None:
    """Hand the sums of every input to `use`, and forget them then.

    Args:
        model: The float graph; it is not changed.
        widths: Value → its last dimension k.
        data: Bound to the model's inputs.
        use: Called once for each value.
        batch: Samples per run; fewer where activations do not fit into the memory.
        memory: Bytes to take beside the model (1 GB).
        progress: Where each pass over the samples is shown.

    Raises:
        DataError: A value is not a number on the data. Squares beyond float32 make sums that are
            not finite.
    """
    layout = layout_of(model, list(widths), data)
    size = layout.fixed or min(fitting_batch(layout, batch, memory), max(1, len(data) // HELD))
    room = (MEMORY if memory is None else memory) // 2
    sizes = {name: _COPIES * 8 * width * width for name, width in widths.items()}
    for window in parts(sizes, room):
        if not window:
            continue
        chosen = {n: widths[n] for n in window}
        with progress.stage("run samples", total=len(data)) as advance:
            found = _summed(model, chosen, data, size, layout.fixed, advance)
        if found is None:
            found = _summed(model, chosen, data, size, layout.fixed, lambda done: None, gaps=True)
        assert found is not None, "a second pass ends in sums or in an error"
        for name in window:
            use(name, found.pop(name))


def _summed(
    model: ir.Model,
    widths: Mapping[str, int],
    data: CalibrationSet,
    batch: int,
    fixed: int | None,
    advance: Callable[[int], None],
    *,
    gaps: bool = False,
) -> dict[str, Gram] | None:
    """The sums; None where a value is no number in places, until `gaps` lets it look past them."""
    taps = Taps(model)
    fetched = []
    for name, width in widths.items():
        value = without_gaps(taps, taps.values[name]) if gaps else taps.values[name]
        rows = taps.node("Reshape", [value, taps.integers(-1, width)])
        fetched.append(taps.output(taps.node("Gemm", [rows, rows], transA=1)))
    session = open_session(taps.finished(), threads=0, spin=False)
    wanted = {value.name for value in session.get_inputs()}
    sums = {name: [np.zeros((k, k)), np.zeros((k, k))] for name, k in widths.items()}
    batches = data.calls(batch)
    for number, piece in enumerate(data.batches(batch)):
        judges = number % HELD == HELD - 1 or (batches < HELD and number == batches - 1)
        feeds = {n: a for n, a in feeds_of(piece, fixed).items() if n in wanted}
        for name, product in zip(widths, session.run(fetched, feeds), strict=True):
            if not np.isfinite(product).all() and not gaps:
                return None
            if np.isnan(np.diag(product)).any():
                raise DataError(
                    f"tensor {name!r} is not finite on the calibration data",
                    hint="Check the preprocessing of the data and the model's numerical range, or "
                    "name what reads it under `leave` in [quantize] of the recipe.",
                )
            sums[name][int(judges)] += product
        advance(len(piece))
    if batches == 1:
        return {name: Gram(held, held) for name, (_, held) in sums.items()}
    return {name: Gram(seen, held) for name, (seen, held) in sums.items()}
