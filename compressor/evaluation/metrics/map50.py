"""Mean average precision of detections that overlap by half, as in PASCAL VOC and COCO's AP50.

map50 = 100 · mean of the average precision over classes, at an intersection over union of 0.5
(Everingham et al. 2010; at 101 recalls as in COCO). In percent, higher is better. See `map` for
what is there.
"""

from compressor.evaluation.average_precision import AveragePrecision


class MeanAveragePrecision50(AveragePrecision):
    """100 is everything found, and nothing else before it."""

    name = "map50"
    thresholds = (0.5,)


METRIC = MeanAveragePrecision50()
