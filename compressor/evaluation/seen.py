"""What a model's outputs look like on a few samples: rows, sizes, and what cosine would hide."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.evaluation.detections import Evidence, looks_like_detections
from compressor.evaluation.feeding import predict
from compressor.evaluation.fidelity import sums_of
from compressor.evaluation.metrics.base import BASELINE, FloatArray, predictions
from compressor.evaluation.metrics.cosine import METRIC as COSINE
from compressor.evaluation.metrics.residual import nearest_input
from compressor.evaluation.outputs import is_floating, sample_axis
from compressor.graph.tensors import Array, TensorSpec
from exporters.base import Runner

SAMPLES = 64
"""Samples that are looked at, at most."""
LEAST = 8
"""Samples from which the mean over them says something of each."""
_LARGEST = 2**22
"""Values of an output that are held to compare samples with their mean."""
_PIECE = 2**20
"""Values that are compared at once."""


@dataclass(frozen=True)
class SeenOutput:
    """An output as a few samples show it.

    Attributes:
        spec: The output as the runtime declares it.
        shape: What came out of the first call.
        rows: Whether each sample has its own part of it.
        loose: Whether how many rows there are depends on the data, as with boxes.
        elements: Values a sample; None where that differs.
        noisy: Whether it differed when the same samples were run again: the model draws numbers.
        constancy: Mean cosine of the samples with their common mean, which is what an answer that
            never changes would have; None where that was not to be told.
        flat: Whether it is the same for all samples, of `LEAST` or more.
        within: Its least and largest value, of `LEAST` samples or more.
        passing: Mean cosine with the input of its shape, which is what handing that back would
            have.
        near: 1 - Σ (r - i)² / Σ (r - mean)², r the output and i that input: the `r2` that handing
            it back would have. None where that was not to be told, or nothing is changed.
    """

    spec: TensorSpec
    shape: tuple[int, ...]
    rows: bool
    loose: bool = False
    elements: int | None = None
    constancy: float | None = None
    passing: float | None = None
    near: float | None = None
    noisy: bool = False
    flat: bool = False
    within: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """Name of the output."""
        return self.spec.name

    @property
    def floating(self) -> bool:
        """Whether it holds numbers, and not decisions."""
        return is_floating(self.spec.dtype)

    @property
    def misfit(self) -> str | None:
        """Why no metric fits it; None where one does."""
        if self.loose:
            return f"how many rows output {self.name!r} has depends on the data"
        return None if self.rows else f"output {self.name!r} has no row for each sample"


@dataclass(frozen=True)
class Seen:
    """The outputs of a model on a few samples.

    Attributes:
        outputs: The outputs, in the model's order.
        boxes: What speaks for boxes and scores, in every call.
        calls: The calls.
    """

    outputs: tuple[SeenOutput, ...]
    boxes: Evidence
    calls: tuple[Batch, ...]

    @property
    def labels(self) -> tuple[Array, ...]:
        """The labels of each call, if there are any."""
        return tuple(call.labels for call in self.calls if call.labels is not None)

    def __getitem__(self, name: str) -> SeenOutput:
        return next(one for one in self.outputs if one.name == name)


def look(runner: Runner, data: CalibrationSet, batch: int) -> Seen:
    """Run the model on the first `SAMPLES` samples and describe what comes out.

    Args:
        runner: The original.
        data: Samples.
        batch: Samples per inference, as quality is measured.
    """
    collected = {spec.name: _Collected(spec) for spec in runner.outputs}
    boxes, calls, noisy = Evidence.CERTAIN, list[Batch](), set[str]()
    for step, found in predictions({BASELINE: runner}, data.take(SAMPLES), batch):
        outputs = found[BASELINE]
        calls.append(step)
        boxes = min(boxes, looks_like_detections(outputs, len(step)))
        if len(calls) == 1:
            again = predict(runner, step.inputs, len(step))
            noisy = {name for name, array in outputs.items() if _differs(array, again[name])}
        for name, array in outputs.items():
            collected[name].see(array, len(step), nearest_input(step.inputs, array))
    alone = len(collected) == 1
    told = (replace(one.told(alone=alone), noisy=name in noisy) for name, one in collected.items())
    return Seen(tuple(told), boxes, tuple(calls))


def _differs(one: Array, other: Array) -> bool:
    """Whether two runs of the same samples gave other values, beyond rounding."""
    if one.shape != other.shape:
        return True
    if not is_floating(one.dtype):
        return bool((one != other).any())
    scale = max(map(_largest, _pieces(one)), default=0.0)
    return not all(
        np.allclose(first, second, rtol=0, atol=1e-4 * scale, equal_nan=True)
        for first, second in zip(_pieces(one), _pieces(other), strict=True)
    )


def _largest(piece: FloatArray) -> float:
    return float(np.abs(piece).max(initial=0, where=np.isfinite(piece)))


def _pieces(array: Array) -> Iterator[FloatArray]:
    """Its values in double precision, a part after the other: logits of a batch are large."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        yield flat[start : start + _PIECE].astype(np.float64)


@dataclass
class _Collected:
    spec: TensorSpec
    rows: bool = True
    loose: bool = False
    shape: tuple[int, ...] | None = None
    elements: set[int] = field(default_factory=set)
    held: list[Array] = field(default_factory=list)
    size: int = 0
    passing: list[FloatArray] = field(default_factory=list)
    changes: list[float] = field(default_factory=list)

    def see(self, array: Array, samples: int, before: Array | None) -> None:
        self.shape = array.shape if self.shape is None else self.shape
        axis = sample_axis(array, samples)
        if axis is None and samples > 1:
            self.rows = False
            return
        declared = self.spec.shape[0] if self.spec.shape else 1
        if axis is None and array.ndim and not isinstance(declared, int):
            self.loose = True
        moved = array if axis is None else np.moveaxis(array, axis, 0)
        self.elements.add(array.size // samples)
        self.size += array.size
        if is_floating(array.dtype) and self.size <= _LARGEST:
            self.held.append(moved.reshape(samples, -1))
        if before is not None and is_floating(array.dtype) and len(array) == samples:
            sums = sums_of(array.reshape(samples, -1), before.reshape(samples, -1))
            self.passing.append(COSINE.units(sums)[:, 0])
            self.changes.append(float(sums.error.sum()))

    def told(self, *, alone: bool) -> SeenOutput:
        """What came together; a single output along time is a signal, however long."""
        loose = self.loose and not (alone and len(self.spec.shape) == 1 and bool(self.held))
        elements = next(iter(self.elements)) if len(self.elements) == 1 else None
        constancy, flat, near, within = None, False, None, None
        if self.rows and elements and self.held and self.size <= _LARGEST:
            together = np.concatenate(self.held).astype(np.float64)
            constancy, flat = _constancy(together), _is_flat(together)
            within = _extent(together)
            told = len(self.changes) == len(self.held)
            near = _nearness(together, sum(self.changes)) if told else None
        passing = float(np.concatenate(self.passing).mean()) if self.passing else None
        return SeenOutput(
            self.spec,
            self.shape or (),
            self.rows,
            loose=loose,
            elements=elements,
            constancy=constancy,
            passing=passing,
            near=near,
            flat=flat,
            within=within,
        )


def _nearness(rows: Array, change: float) -> float | None:
    """1 - change / Σ (rows - mean)²; None of few rows, of equal ones, or without a change."""
    spread = float(np.square(rows - rows.mean(axis=0)).sum()) if len(rows) >= LEAST else 0.0
    if not (np.isfinite(spread) and change > 1e-9 * spread > 0):
        return None
    return 1 - change / spread


def _extent(rows: Array) -> tuple[float, float] | None:
    """The least and the largest value; None of few rows, or where not all are finite."""
    if len(rows) < LEAST or not np.isfinite(rows).all():
        return None
    return float(rows.min()), float(rows.max())


def _is_flat(rows: Array) -> bool:
    """Whether rows are one, but for rounding."""
    if len(rows) < LEAST or not np.isfinite(rows).all():
        return False
    return bool(np.abs(rows - rows[0]).max(initial=0) <= 1e-6 * np.abs(rows).max(initial=0))


def _constancy(rows: Array) -> float | None:
    """Mean cosine of rows with their mean."""
    exact = rows.astype(np.float64)
    exact[~np.isfinite(exact)] = 0
    if len(exact) < LEAST:
        return None
    mean = exact.mean(axis=0)
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(mean)
    cosines = np.divide(exact @ mean, norms, out=np.zeros(len(exact)), where=norms > 0)
    return float(cosines.mean())
