"""Mean average precision of detections at overlaps from 0.5 to 0.95, as COCO's.

map = 100 · mean of the average precision over classes and over thresholds of intersection over
union of 0.50, 0.55, …, 0.95 (Lin et al. 2014, section 5); `compressor.evaluation.average_precision`
has the details. In percent, higher is better. What is there is told by labels (samples, boxes, 5),
rows of x1, y1, x2, y2 and class, of which those of class -1 fill up; without labels by what the
original detects. Boxes and classes are numbered as the model's.
"""

import numpy as np

from compressor.evaluation.average_precision import AveragePrecision


class MeanAveragePrecision(AveragePrecision):
    """100 is everything found, and nothing else before it."""

    name = "map"
    thresholds = tuple(np.linspace(0.5, 0.95, 10).round(2).tolist())


METRIC = MeanAveragePrecision()
