"""Calibration statistics: from the cache, or by a pass over the data."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import onnx_ir as ir

from calibration.collect import collect
from calibration.dataset import CalibrationSet
from calibration.sampling import ELEMENTS
from calibration.stats import FORMAT, CalibrationStats
from compressor.errors import DataError
from compressor.graph.fingerprint import fingerprint
from compressor.system.cache import count, trim
from compressor.system.versions import version_of

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
        DataError: The data is empty or drives a tensor to NaN or infinity.
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
        count("calibration statistics")
        return kept
    stats = observe()
    try:
        cache.mkdir(parents=True, exist_ok=True)
        stats.save(path)
        trim(cache)
    except (OSError, DataError) as error:
        log.info("statistics are not kept in %s: %s", cache, error)
    return stats


def _kept(path: Path) -> CalibrationStats | None:
    """What the cache has; damaged statistics are none."""
    if not path.exists():
        return None
    try:
        found = CalibrationStats.load(path)
        with suppress(OSError):
            os.utime(path)  # those used longest ago go first
        return found
    except DataError as error:
        log.warning("%s; collecting anew", error)
        return None


def _key(
    model: ir.Model, values: Sequence[str], data: CalibrationSet, batch: int, memory: int | None
) -> str:
    made = [version_of("compressor"), version_of("onnxruntime")]
    seen = [fingerprint(model), data.fingerprint(), batch, memory, list(values)]
    parts = [FORMAT, ELEMENTS, *made, *seen]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
