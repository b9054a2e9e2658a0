"""One streaming pass over the data: taps values of a graph and feeds the observers.

Extremes are reduced inside the graph (ReduceMin, ReduceMax) over every element. Histograms take the
elements that `sampling` chooses, sliced inside the graph too, so that little leaves the runtime.
Memory depends neither on the number of samples nor, with several passes over windows of the values,
on the number of tensors.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.gaps import without_gaps
from calibration.histogram import BINS, Counts, Histogram, count, keys_of
from calibration.observers import MinMax, Observed
from calibration.sampling import Sampling, rows_of, sampling_of, strided
from calibration.stats import CalibrationStats, StatsOrigin
from calibration.taps import Taps, feeds_of
from calibration.windows import parts
from compressor.errors import DataError
from compressor.graph.batch import fixed_batch
from compressor.graph.concrete import concrete_shapes
from compressor.graph.fingerprint import fingerprint
from compressor.graph.footprint import peak_bytes
from compressor.graph.session import open_session
from compressor.graph.shapes import input_specs
from compressor.graph.tensors import Array

_FAR = float(np.finfo(np.float32).max)
"""What stands in place of what is no number where a least or, negative, a greatest is sought."""

MEMORY = 10**9
"""Bytes that calibration may take beside the model, unless told otherwise."""

AT_ONCE = 512
"""Values of which one graph takes the extremes: loading it takes the square of their number."""

Advance = Callable[[int], None]


def collect(  # noqa: PLR0913 - what is observed, and how it is run and told
    model: ir.Model,
    values: Sequence[str],
    data: CalibrationSet,
    *,
    batch: int = 32,
    threads: int = 0,
    memory: int | None = None,
    histograms: bool = True,
    advance: Advance = lambda samples: None,
    gapped: Callable[[str], None] = lambda value: None,
) -> CalibrationStats:
    """Observe `values` of `model` over all of `data`.

    Args:
        model: The float graph; it is not changed.
        values: Names of float values: graph inputs or outputs of nodes of the main graph.
        data: Bound to the model's inputs.
        batch: Samples per run; a graph with its batch baked in uses that one.
        threads: Threads of the runtime; 0 is all.
        memory: Bytes to take beside the model (1 GB): what does not fit is observed in further
            passes, and activations that do not fit in smaller batches.
        histograms: Whether to collect more than the extremes.
        advance: Called with the number of samples done.
        gapped: Called with the values that are NaN or infinite in places, as behind a mask; the
            rest was observed.

    Raises:
        DataError: The data is empty, or a value is nowhere finite on it.
    """
    layout = layout_of(model, values, data)
    batch = layout.fixed or fitting_batch(layout, batch, memory)
    groups = windows(values, layout, batch, memory) if histograms else [list(values)]
    progress = _Progress(advance, len(groups))
    observed: dict[str, Observed] = {}
    samples = 0
    for window in groups:
        tapped = _Window(model, window, layout, histograms=histograms)
        samples = tapped.run(data, batch, threads, progress)
        odd = [name for name in window if name in tapped.gaps]
        if odd:
            again = _Window(model, odd, layout, histograms=histograms, gaps=True)
            again.run(data, batch, threads, lambda samples: None)
            again.require_seen()
            for name in odd:
                gapped(name)
        seen = tapped.observed()
        observed |= (seen | again.observed()) if odd else seen
    if samples == 0:
        raise DataError(f"{data.description} holds no samples to calibrate on")
    origin = StatsOrigin(fingerprint(model), batch, histograms)
    return CalibrationStats(observed, samples, origin)


def extremes(
    model: ir.Model,
    values: Sequence[str],
    data: CalibrationSet,
    *,
    batch: int = 32,
    memory: int | None = None,
    advance: Advance = lambda samples: None,
) -> dict[str, Observed]:
    """The least and the greatest of `values` over all of `data`, infinite ones included.

    Attention masks write infinities. See `collect` for the arguments.

    Raises:
        DataError: A value is not a number on the data.
    """
    layout = layout_of(model, values, data)
    batch = layout.fixed or fitting_batch(layout, batch, memory)
    groups = [values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE)]
    progress, observed = _Progress(advance, max(1, len(groups))), dict[str, Observed]()
    for window in groups:
        tapped = _Window(model, window, layout, histograms=False, endless=True)
        tapped.run(data, batch, 0, progress)
        observed |= tapped.observed()
    return observed


@dataclass(frozen=True)
class ValueLayout:
    """Where the samples lie in each value, and what one sample takes.

    Attributes:
        sampling: Value name → its sampling.
        ranks: Value name → number of axes, where known.
        fixed: The batch that the graph has baked in.
        sample_bytes: What the activations of one sample take at their peak.
    """

    sampling: dict[str, Sampling]
    ranks: dict[str, int]
    fixed: int | None
    sample_bytes: int


def layout_of(model: ir.Model, values: Sequence[str], data: CalibrationSet) -> ValueLayout:
    """Compare the shapes for one sample with those for two."""
    fixed = fixed_batch(input_specs(model))
    head = data.head(fixed or 2)
    one = concrete_shapes(model, head.filled(fixed or 1), fixed or 1)
    two = one if fixed else concrete_shapes(model, head.filled(2), 2)
    sampling = {name: sampling_of(name, one.shapes, two.shapes, fixed) for name in values}
    if data.has_lengths:
        sampling = {name: replace(how, varies=True) for name, how in sampling.items()}
    ranks = {name: len(one.shapes[name]) for name in values if name in one.shapes}
    return ValueLayout(sampling, ranks, fixed, peak_bytes(one.model, one.shapes) // (fixed or 1))


def fitting_batch(layout: ValueLayout, batch: int, memory: int | None) -> int:
    """The largest batch up to `batch` whose activations take half of the memory or less."""
    room = (MEMORY if memory is None else memory) // 2
    return max(1, min(batch, room // max(layout.sample_bytes, 1)))


def run_batch(
    model: ir.Model, values: Sequence[str], data: CalibrationSet, batch: int, memory: int | None
) -> int:
    """Samples per run that `collect` will use."""
    layout = layout_of(model, values, data)
    return layout.fixed or fitting_batch(layout, batch, memory)


def windows(
    values: Sequence[str], layout: ValueLayout, batch: int, memory: int | None
) -> list[list[str]]:
    """Cut the values so that the counts and counted elements of each part take half the memory."""
    room = (MEMORY if memory is None else memory) // 2
    sizes = {name: 3 * 8 * BINS + 4 * layout.sampling[name].counted * batch for name in values}
    return parts(sizes, room)


class _Window:
    """A pass that observes some of the values."""

    def __init__(
        self,
        model: ir.Model,
        values: Sequence[str],
        layout: ValueLayout,
        *,
        histograms: bool,
        endless: bool = False,
        gaps: bool = False,
    ) -> None:
        self._values, self._layout, self._endless = values, layout, endless
        self._looks_past = gaps
        self.gaps: set[str] = set()
        taps = Taps(model)
        self._fetched: list[str] = []
        for name in values:
            value, rank, how = taps.values[name], layout.ranks.get(name), layout.sampling[name]
            rows = rows_of(taps, value, rank, how)
            for reduction, filler in (("ReduceMin", _FAR), ("ReduceMax", -_FAR)):
                there = without_gaps(taps, rows, filler) if gaps else rows
                extremes = taps.reduced(reduction, there, 1)
                self._fetched.append(taps.output(extremes))
            if histograms:
                rows = without_gaps(taps, rows) if gaps else rows
                self._fetched.append(taps.output(strided(taps, rows, how)))
        self._model = taps.finished()
        self._extremes = dict.fromkeys(values, MinMax())
        self._counts: dict[str, Counts] = {}
        if histograms:
            # Rows: all elements, the least of each sample, the greatest of each sample.
            self._counts = {name: np.zeros((3, BINS), np.int64) for name in values}

    def run(self, data: CalibrationSet, batch: int, threads: int, advance: Advance) -> int:
        """One pass over the data; the number of samples."""
        session = open_session(self._model, threads=threads, spin=False) if self._values else None
        wanted = {} if session is None else {value.name for value in session.get_inputs()}
        samples = 0
        for piece in data.batches(batch):
            if session is not None:
                feeds = feeds_of(piece, self._layout.fixed)
                feeds = {name: array for name, array in feeds.items() if name in wanted}
                self._take(iter(session.run(self._fetched, feeds)), len(piece))
            samples += len(piece)
            advance(len(piece))
        return samples

    def require_seen(self) -> None:
        """Refuse values that are nowhere finite.

        Raises:
            DataError: Names one.
        """
        for name, seen in self._extremes.items():
            if seen == MinMax():
                seen.update(math.nan, math.nan, name=name)

    def observed(self) -> dict[str, Observed]:
        """What was seen so far."""
        return {
            name: Observed(
                self._extremes[name],
                *(Histogram.from_dense(dense) for dense in self._counts.get(name, ())),
            )
            for name in self._values
        }

    def _take(self, arrays: Iterator[Any], samples: int) -> None:
        for name in self._values:
            lows, highs = (self._real(next(arrays), samples) for _ in range(2))
            elements = self._real(next(arrays), samples) if self._counts else None
            if self._looks_past:
                there = np.less_equal(lows, highs)  # a sample with nothing finite has no extremes
                lows, highs = lows[there], highs[there]
            elif not self._endless and not _finite(lows, highs, elements):
                self.gaps.add(name)
                continue
            if lows.size:
                self._see(name, lows, highs, elements, samples)

    def _see(
        self, name: str, lows: Array, highs: Array, elements: Array | None, samples: int
    ) -> None:
        low, high = float(lows.min()), float(highs.max())
        self._extremes[name] = self._extremes[name].update(
            low, high, name=name, endless=self._endless
        )
        if elements is not None:
            # What is the same for all of a batch counts as if every sample had brought it.
            weight = samples if self._layout.sampling[name].per_batch else 1
            dense = self._counts[name]
            dense[0] += count(elements) * weight
            np.add.at(dense[1], keys_of(lows), weight)
            np.add.at(dense[2], keys_of(highs), weight)

    def _real(self, rows: Array, samples: int) -> Array:
        """Without the samples that only fill a fixed batch up."""
        return rows if self._layout.fixed is None else rows[:samples]


def _finite(*arrays: Array | None) -> bool:
    return all(array is None or bool(np.isfinite(array).all()) for array in arrays)


class _Progress:
    """Spreads what is done over several passes, so that the total stays the number of samples."""

    def __init__(self, advance: Advance, passes: int) -> None:
        self._advance, self._passes = advance, passes
        self._seen = self._told = 0

    def __call__(self, samples: int) -> None:
        self._seen += samples
        done = self._seen // self._passes
        if done > self._told:
            self._advance(done - self._told)
            self._told = done
