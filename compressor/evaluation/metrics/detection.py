"""Agreement of a detector with the original: what both detect, weighed by how sure they are.

detection = 100 · 2 · Σ min(s, t) / (Σ s + Σ t), in percent: s are the scores of the original's
detections, t of the result's, and the sum above runs over pairs of one class that overlap by half
or more (intersection over union), each matched once, the surest first. A box that is lost, moved
away, added or called otherwise counts with its score, one that is kept with the part of the score
that both share. Detections are read from all outputs together (`compressor.evaluation.detections`
lists the layouts); of dense heads the best of overlapping boxes are taken, 100 a sample at most.
"""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.detected import detect, what_counts
from compressor.evaluation.detections import OVERLAP, Detections, overlaps
from compressor.evaluation.metrics.base import BASELINE, FloatArray, Metric, Scores
from exporters.base import Runner


class Detection(Metric):
    """100 where everything is detected as before."""

    name = "detection"
    unit = "%"
    whole = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Twice the shared score and the sum of both, (n, 2).

        Raises:
            UsageError: The outputs of the original are no boxes with scores.
        """
        found = detect(runners, data, batch, self.name).found
        least, most = what_counts(found[BASELINE])
        units = {
            name: np.array(
                [
                    shared(one.above(least, most), other.above(least, most))
                    for one, other in zip(found[BASELINE], of_one, strict=True)
                ]
            )
            for name, of_one in found.items()
        }
        return Scores(units, "original", len(found[BASELINE]))

    def aggregate(self, units: FloatArray) -> FloatArray:
        """100 · shared / sum; 100 where neither detects anything."""
        both, total = np.moveaxis(units.sum(axis=-2), -1, 0)
        share = np.divide(both, total, out=np.ones_like(total), where=total > 0)
        return np.asarray(100 * share)


def shared(one: Detections, other: Detections) -> tuple[float, float]:
    """Twice the score that two detections share by matching, and the sum of all their scores."""
    total = float(one.scores.sum() + other.scores.sum())
    if not len(one.scores) or not len(other.scores):
        return 0.0, total
    near = overlaps(other.boxes, one.boxes)
    near[(near < OVERLAP) | (other.classes[:, None] != one.classes[None])] = -1
    both = 0.0
    for place, score in enumerate(other.scores):
        match = int(near[place].argmax())
        if near[place, match] > 0:
            both += 2 * min(float(score), float(one.scores[match]))
            near[:, match] = -1
    return both, total


METRIC = Detection()
