"""Average precision of detections, as COCO's evaluation takes it.

Detections of a class are taken over all samples by falling score. In its sample each is matched to
the box that is there and unmatched with the largest intersection over union, if that is at least a
threshold. Precision at a recall is the largest at any recall of at least that, and the average
precision its mean at the recalls 0, 0.01, …, 1 (Lin et al. 2014 and its evaluation code, with 100
detections a sample and boxes of all sizes). The mean over thresholds and over classes that are
there at all is `map`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from calibration.dataset import CalibrationSet
from compressor.errors import DataError
from compressor.evaluation.detected import detect, what_counts
from compressor.evaluation.detections import Detections, overlaps
from compressor.evaluation.intervals import LEAST_UNITS
from compressor.evaluation.jackknife import blocks_of, pseudo_values
from compressor.evaluation.metrics.base import BASELINE, FloatArray, Metric, Reference, Scores
from compressor.graph.tensors import Array
from exporters.base import Runner

RECALLS = np.linspace(0, 1, 101)
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Matches:
    """Detections of a class over all samples, and which of them are right.

    Attributes:
        sample: Sample of each detection, (k,).
        score: (k,).
        right: At each threshold, (k, thresholds).
        there: How many boxes of the class each sample has, (n,).
    """

    sample: npt.NDArray[np.int64]
    score: FloatArray
    right: Mask
    there: FloatArray

    def precision(self, kept: Mask) -> float | None:
        """Average precision on some samples, the mean over thresholds; None where none is there."""
        total = float(self.there[kept].sum())
        if total == 0:
            return None
        order = np.argsort(-self.score, kind="stable")
        right = self.right[order][kept[self.sample[order]]]
        if not len(right):
            return 0.0
        hits = np.cumsum(right, axis=0)
        shares = hits / np.arange(1, len(hits) + 1)[:, None]
        largest = np.maximum.accumulate(shares[::-1], axis=0)[::-1]
        found = []
        for threshold in range(right.shape[1]):
            # Rounding must not push a recall that was reached beyond the one that is asked for.
            places = np.searchsorted(hits[:, threshold] / total, RECALLS - 1e-12, side="left")
            reached = places < len(hits)
            found.append(largest[places[reached], threshold].sum() / len(RECALLS))
        return float(np.mean(found))


class AveragePrecision(Metric):
    """Base of means of average precisions, against boxes in labels, else the original's."""

    unit = "%"
    whole = True
    thresholds: ClassVar[tuple[float, ...]]

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Pseudo-values of blocks of samples.

        Raises:
            UsageError: The outputs of the original are no boxes with scores.
            DataError: Labels are no boxes with classes.
        """
        detected = detect(runners, data, batch, self.name)
        reference: Reference = "original"
        least, most = what_counts(detected.found[BASELINE])
        there = [one.above(least, most) for one in detected.found[BASELINE]]
        if detected.labels:
            there, reference = boxes_of(detected.labels, data.description, self.name), "labels"
        blocks = blocks_of(len(there))
        units = {}
        for name, found in detected.found.items():
            matches = matched(there, found, self.thresholds)
            everything = np.ones(len(there), dtype=bool)
            without = []
            for block in blocks:
                kept = everything.copy()
                kept[block] = False
                without.append(mean_precision(matches, kept))
            whole = mean_precision(matches, everything)
            sizes = [len(block) for block in blocks]
            units[name] = pseudo_values(whole, np.array(without), sizes)
        return Scores(units, reference, len(there), blocks=True, least=LEAST_UNITS)

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean of the blocks."""
        return np.asarray(units[..., 0].mean(axis=-1))


def mean_precision(matches: Sequence[Matches], kept: Mask) -> float:
    """The mean over classes, in percent; 100 where nothing is there to be found."""
    found = [one.precision(kept) for one in matches]
    known = [one for one in found if one is not None]
    return 100 * float(np.mean(known)) if known else 100.0


def matched(
    there: Sequence[Detections], found: Sequence[Detections], thresholds: Sequence[float]
) -> list[Matches]:
    """Detections held against what is there, class by class."""
    classes = np.unique(np.concatenate([np.zeros(0), *(one.classes for one in there)]))
    return [_of_class(there, found, thresholds, label) for label in classes]


def _of_class(
    there: Sequence[Detections],
    found: Sequence[Detections],
    thresholds: Sequence[float],
    label: float,
) -> Matches:
    samples, scores, right, counts = [], [], [np.zeros((0, len(thresholds)), dtype=bool)], []
    for sample, (truth, own) in enumerate(zip(there, found, strict=True)):
        boxes = truth.boxes[truth.classes == label]
        mine = own.classes == label
        counts.append(float(len(boxes)))
        samples += [sample] * int(mine.sum())
        scores.append(own.scores[mine])
        right.append(_matches(own.boxes[mine], boxes, thresholds))
    return Matches(
        np.array(samples, dtype=np.int64),
        np.concatenate(scores) if scores else np.zeros(0),
        np.concatenate(right),
        np.array(counts),
    )


def _matches(boxes: FloatArray, there: FloatArray, thresholds: Sequence[float]) -> Mask:
    """Which boxes, by falling score, find one that is there, at each threshold."""
    right = np.zeros((len(boxes), len(thresholds)), dtype=bool)
    if not len(boxes) or not len(there):
        return right
    near = overlaps(boxes, there)
    for column, threshold in enumerate(thresholds):
        free = near.copy()
        for place in range(len(boxes)):
            best = int(free[place].argmax())
            if free[place, best] >= threshold:
                right[place, column] = True
                free[:, best] = -1
    return right


def boxes_of(labels: Sequence[Array], source: str, metric: str) -> list[Detections]:
    """What is there by labels: rows of corners and class a sample, those below class 0 are none.

    Raises:
        DataError: They have another shape.
    """
    found = []
    for row in labels:
        if row.ndim != 2 or row.shape[1] != 5 or row.dtype.kind not in "iuf":
            raise DataError(
                f"labels of {source}: metric {metric} expected boxes of shape [samples, boxes, 5], "
                f"found {row.dtype.name}{['samples', *row.shape]}",
                hint="A row is x1, y1, x2, y2 and class; rows of class -1 fill up.",
            )
        exact = row.astype(np.float64)
        kept = exact[exact[:, 4] >= 0]
        found.append(Detections(kept[:, :4], np.ones(len(kept)), kept[:, 4]))
    return found
