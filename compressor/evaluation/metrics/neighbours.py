"""Share of samples whose nearest other sample is the one that the original finds.

What embeddings are for: search, clusters, duplicates. Their cosine to the original's hides what is
lost of that, as neighbours of a sample differ by less than the sample itself has moved.

nearest(i) = argmax over j ≠ i of y_i·y_j / (‖y_i‖·‖y_j‖). It is kept where the original has the
result's as near as its own, up to rounding: of samples that are equal any may be found.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Scores,
    predictions,
)
from exporters.base import Runner

ALIKE = 1e-6
"""Difference of cosines up to which two samples are as near."""
ROWS = 512
"""Samples whose distances to all others are held at once."""


class Neighbours(Metric):
    """100 % is the same neighbours."""

    name = "neighbours"
    unit = "%"
    proportion = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """All outputs are kept, a vector a sample."""
        kept: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for _, outputs in predictions(runners, data, batch):
            for name, arrays in outputs.items():
                (array,) = arrays.values()
                kept[name].append(array.reshape(len(array), -1).astype(np.float64))
        rows = {name: _directions(np.concatenate(parts)) for name, parts in kept.items()}
        original = rows[BASELINE]
        units = {name: _kept(original, found) for name, found in rows.items()}
        return Scores(units, "original", len(original))

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean, in percent."""
        return np.asarray(100 * units[..., 0].mean(axis=-1))


def _directions(rows: FloatArray) -> FloatArray:
    """Vectors of length 1; zeros, and what is not finite, have no direction and are zeros."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    usable = np.isfinite(lengths) & (lengths > 0)
    return np.asarray(np.divide(rows, lengths, out=np.zeros_like(rows), where=usable))


def _kept(original: FloatArray, found: FloatArray) -> FloatArray:
    """1 for each sample whose neighbour is as near in the original as any, (n, 1)."""
    kept = []
    for (start, own), (_, other) in zip(_near(original), _near(found), strict=True):
        chosen = own[np.arange(len(own)), other.argmax(1)]
        moved = ~found[start : start + len(own)].any(1)  # it has no direction left
        kept.append((chosen >= own.max(1) - ALIKE) & ~moved)
    return np.concatenate(kept).astype(np.float64)[:, None]


def _near(rows: FloatArray) -> Iterator[tuple[int, FloatArray]]:
    """The cosines of some samples to all, to themselves the least that there is."""
    for start in range(0, len(rows), ROWS):
        near = rows[start : start + ROWS] @ rows.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -2.0
        yield start, near


METRIC = Neighbours()
