"""Metrics of the error in relation to how far the outputs spread over the samples."""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.fidelity import target_of
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Reference,
    Scores,
    labelled,
    predictions,
)
from compressor.evaluation.outputs import evened, paired_outputs, primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner

HELD = 2**25
"""Reference values that are held to find their means; more are computed a second time."""


class SpreadMetric(Metric):
    """Base of metrics over the error of a sample and its distance from the mean of all.

        error = Σ_e (r_e - x_e)²,   spread = Σ_e (r_e - mean_e)²

    over the elements e of the output, r the reference and mean_e its mean over the samples. Where
    samples differ in shape, one mean of all their values serves.
    """

    takes_labels = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Error and spread of each sample, (n, 2).

        Raises:
            DataError: Floating labels do not have the shape of the output.
            UsageError: The outputs of the models do not correspond.
        """
        errors: dict[str, list[FloatArray]] = {name: [] for name in runners}
        means, reference = _Means(), "original"
        for step, outputs in labelled(predictions(runners, data, batch)):
            original, samples = outputs[BASELINE], len(step)
            target = target_of(self.name, step, original, data.description)
            reference = "original" if target is None else "labels"
            for name, arrays in outputs.items():
                if target is None:
                    pairs = list(paired_outputs(original, arrays, samples, self.name))
                else:
                    own = primary_output(arrays, samples, self.name)[1].reshape(samples, -1)
                    pairs = [evened(target, own)]
                errors[name].append(np.sum([_squares(r, x) for r, x in pairs], axis=0))
            means.see(_reference(target, original, samples, self.name))
        spread = means.spread() or self._again(means, runners, data, batch)
        column = np.concatenate(spread)
        units = {name: np.stack([np.concatenate(e), column], 1) for name, e in errors.items()}
        kind: Reference = "labels" if reference == "labels" else "original"
        return Scores(units, kind, len(column))

    def _again(
        self, means: "_Means", runners: Mapping[str, Runner], data: CalibrationSet, batch: int
    ) -> list[FloatArray]:
        """The spread by a second pass over what was too large to hold."""
        found = []
        for step, outputs in labelled(predictions({BASELINE: runners[BASELINE]}, data, batch)):
            original, samples = outputs[BASELINE], len(step)
            target = target_of(self.name, step, original, data.description)
            found.append(means.distance(_reference(target, original, samples, self.name)))
        return found


class _Means:
    """Sums of the reference, and its values as long as they are few."""

    def __init__(self) -> None:
        self._held: list[Array] | None = []
        self._size = 0
        self._sums: FloatArray | None = None
        self._total, self._values, self._rows = 0.0, 0, 0

    def see(self, rows: Array) -> None:
        """Count the reference (b, values) of a batch."""
        exact = np.where(np.isfinite(rows), rows, 0).astype(np.float64)
        if self._values == 0:
            self._sums = np.zeros(exact.shape[1])
        if self._sums is not None:
            same = len(self._sums) == exact.shape[1]
            self._sums = self._sums + exact.sum(axis=0) if same else None
        self._total += float(exact.sum())
        self._values, self._rows = self._values + exact.size, self._rows + len(exact)
        self._size += rows.size
        if self._held is not None:
            self._held = [*self._held, rows] if self._size <= HELD else None

    def spread(self) -> list[FloatArray]:
        """The spread of each sample; empty where too much was seen to hold it."""
        return [self.distance(rows) for rows in self._held or ()]

    def distance(self, rows: Array) -> FloatArray:
        """Σ (r - mean)² of each row."""
        mean = self._total / max(self._values, 1) if self._sums is None else self._sums / self._rows
        return _squares(rows, np.broadcast_to(mean, rows.shape))


def _reference(
    target: Array | None, original: Mapping[str, Array], samples: int, metric: str
) -> Array:
    """Labels, or all floating outputs of the original side by side, (b, values)."""
    if target is not None:
        return target
    pairs = paired_outputs(original, original, samples, metric)
    return np.concatenate([first for first, _ in pairs], axis=1)


def _squares(one: Array, other: Array) -> FloatArray:
    """Σ (a - b)² of each row; where both hold the same infinity, or both NaN, there is no error."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, a - b)
        return np.asarray(np.einsum("ij,ij->i", difference, difference))
