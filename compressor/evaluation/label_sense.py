"""Whether class labels can be what they say: classes of the model, not shifted, not all one."""

from collections.abc import Mapping

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import DataError
from compressor.evaluation.classification import predicted
from compressor.evaluation.metrics.base import BASELINE, predictions
from compressor.evaluation.outputs import primary_output
from exporters.base import Runner

_TELLING = 10
"""Samples from which hits of labels one lower or higher say something."""
_SHARE = 0.5
"""Share of the samples that labels have to hit from which they are taken for the right ones."""


def require_within(counts: Mapping[int, int], classes: int, source: str) -> None:
    """Refuse labels that are no classes of the model, wherever they stand in the data.

    Args:
        counts: Label → samples.
        classes: How many the model scores.
        source: The data's name in the message.

    Raises:
        DataError: Names one.
    """
    wrong = sorted(label for label in counts if not 0 <= label < classes)
    if not wrong:
        return
    shifted = wrong == [classes] and min(counts) == 1
    raise DataError(
        f"labels of {source}: expected classes 0 to {classes - 1}, as the model has {classes}, "
        f"found {wrong[0] if wrong[0] < 0 else wrong[-1]}",
        hint="Classes are counted from 0, and these seem to count from 1: subtract 1."
        if shifted
        else "Leave out samples without a class, or choose --metric cosine, which needs no labels.",
    )


def doubts(
    original: Runner, data: CalibrationSet, batch: int, counts: Mapping[int, int]
) -> tuple[str, ...]:
    """What is odd about labels that are classes of the model.

    Args:
        original: Scores the classes; its primary output alone.
        data: A few samples.
        batch: Samples per inference.
        counts: Label → how many of all samples have it.
    """
    said = []
    if len(counts) == 1 and sum(counts.values()) > 1:
        said.append(
            f"all labels are class {next(iter(counts))}: accuracy on one class tells nothing of "
            "the others; give samples of all of them"
        )
    total, hits = 0, {-1: 0, 0: 0, 1: 0}
    for step, outputs in predictions({BASELINE: original}, data, batch):
        if step.labels is None:
            return tuple(said)
        _, scores = primary_output(outputs[BASELINE], len(step), "accuracy")
        found = predicted(scores.reshape(len(step), -1).astype(np.float64))
        labels, total = step.labels.reshape(-1).astype(np.int64), total + len(step)
        for offset in hits:
            hits[offset] += int(np.count_nonzero(found == labels + offset))
    best = max(hits, key=lambda offset: hits[offset])
    if best and total >= _TELLING and hits[best] >= _SHARE * total > 2 * hits[0]:
        said.append(
            f"labels look shifted by one: the original is right on {hits[0]} of {total} samples, "
            f"and on {hits[best]} with label {'+' if best > 0 else '-'} 1. Classes are counted "
            "from 0, in the order of the model's outputs"
        )
    return tuple(said)
