"""What original and result detect in every sample, and what is there by the labels."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import UsageError
from compressor.evaluation.detections import (
    Detections,
    RowFormat,
    chosen,
    form_of,
    read,
)
from compressor.evaluation.metrics.base import BASELINE, Outputs, predictions
from compressor.evaluation.outputs import describe
from compressor.graph.tensors import Array
from exporters.base import Runner

LEAST_SCORE = 0.05
"""What scores less is no detection, unless the original hardly ever scores more."""
FEW = 20
"""Detections of a sample that count then."""

NOTHING = Detections(np.zeros((0, 4)), np.zeros(0), np.zeros(0))


@dataclass(frozen=True)
class Detected:
    """Detections of all samples.

    Attributes:
        found: Runner → detections of every sample.
        labels: Of every sample, as stored; empty without labels.
    """

    found: Mapping[str, list[Detections]]
    labels: list[Array]


def detect(
    runners: Mapping[str, Runner], data: CalibrationSet, batch: int, metric: str
) -> Detected:
    """Run every model on all samples; how rows are read is told once, by the original's.

    Raises:
        UsageError: The outputs of the original are no boxes with scores.
    """
    found: dict[str, list[Detections]] = {name: [] for name in runners}
    labels: list[Array] = []
    form: RowFormat | None = None
    for step, outputs in predictions(runners, data, batch):
        original = read(outputs[BASELINE], len(step))
        if original is None:
            raise _refusal(outputs[BASELINE], metric)
        if form is None and any(len(one.boxes) for one in original):
            form = form_of(original)
        labels += [] if step.labels is None else list(step.labels)
        for name, arrays in outputs.items():
            rows = read(arrays, len(step), like=outputs[BASELINE])
            found[name] += (
                [NOTHING] * len(step)
                if rows is None
                else [chosen(one, form or RowFormat()) for one in rows]
            )
    return Detected(found, labels)


def what_counts(original: list[Detections]) -> tuple[float, int]:
    """The least score of a detection and how many of a sample there may be, by the original."""
    sure = sum(len(one.above(LEAST_SCORE).scores) for one in original)
    return (LEAST_SCORE, 100) if 10 * sure >= len(original) else (0.0, FEW)


def _refusal(outputs: Outputs, metric: str) -> UsageError:
    return UsageError(
        f"metric {metric}: expected boxes with scores, found {describe(outputs)}",
        hint="Name the outputs boxes, scores and labels (let forward return a dict), or let one "
        "output hold rows of box, score and class. For another form write --metric "
        "file.py:function.",
    )
