"""Calibration statistics: from the cache, or by a pass over the data."""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx_ir as ir

from calibration.collect import collect
from calibration.dataset import CalibrationSet
from calibration.sampling import ELEMENTS
from calibration.stats import FORMAT, CalibrationStats
from compressor.errors import DataError
from compressor.graph.fingerprint import fingerprint

log = logging.getLogger("compressor")


def statistics(  # noqa: PLR0913 - as for what collects them
    model: ir.Model,
    values: Sequence[str],
    data: CalibrationSet,
    *,
    batch: int,
    memory: int | None = None,
    histograms: bool = True,
    cache: Path | None = None,
    advance: Callable[[int], None] = lambda samples: None,
    gapped: Callable[[str], None] = lambda value: None,
) -> CalibrationStats:
    """Statistics of the values over the data, from the cache when it has them.

    Args:
        model: The float graph.
        values: Names of the values to observe.
        data: Bound to the model's inputs.
        batch: Samples per run.
        memory: Bytes to take beside the model (1 GB).
        histograms: Whether more than extremes is needed.
        cache: A folder that keeps statistics by model, data and options.
        advance: Called with the number of samples done.
        gapped: Called with the values that are no numbers in places, unless the cache has them.

    Raises:
        DataError: The data is empty or drives a tensor to NaN or infinity, or the cache cannot be
            written.
    """

    def observe() -> CalibrationStats:
        stats = collect(
            model,
            values,
            data,
            batch=batch,
            memory=memory,
            histograms=histograms or cache is not None,
            advance=advance,
            gapped=gapped,
        )
        return stats.of_data(data.fingerprint())

    if cache is None:
        return observe()
    path = cache / f"{_key(model, values, data, batch, memory)}.npz"
    if (kept := _kept(path)) is not None:
        advance(len(data))
        return kept
    stats = observe()
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"calibration cache {cache}: {error.strerror}") from error
    stats.save(path)
    return stats


def _kept(path: Path) -> CalibrationStats | None:
    """What the cache has; damaged statistics are none."""
    if not path.exists():
        return None
    try:
        return CalibrationStats.load(path)
    except DataError as error:
        log.warning("%s; collecting anew", error)
        return None


def _key(
    model: ir.Model, values: Sequence[str], data: CalibrationSet, batch: int, memory: int | None
) -> str:
    parts = [FORMAT, ELEMENTS, fingerprint(model), data.fingerprint(), batch, memory, list(values)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
