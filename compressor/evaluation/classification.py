"""Metrics of classifiers: scores (samples, classes) against class numbers (samples,)."""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics.base import (
    FloatArray,
    Metric,
    Outputs,
    Scores,
    labelled,
    predictions,
    stack,
)
from compressor.evaluation.outputs import primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner

Classes = npt.NDArray[np.int64]


class ClassificationMetric(Metric):
    """Base of metrics over class scores and labels.

    Scores are the output named `logits` or `output`, else the first floating one; only their
    order within a sample matters, so that logits and probabilities do alike.
    """

    needs_labels = True
    takes_labels = True

    @abstractmethod
    def units(self, scores: FloatArray, labels: Classes) -> FloatArray:
        """The statistics (b, k) of scores (b, classes) and labels (b,)."""

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Score every runner against the labels.

        Raises:
            DataError: There are no labels, or they are not class numbers of these scores.
            UsageError: The model's output is not (samples, classes).
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in labelled(predictions(runners, data, batch)):
            if step.labels is None and not data.has_labels:
                raise DataError(
                    f"metric {self.name} needs labels; {data.description} has none",
                    hint="Give evaluation data with an array `label` by --eval, let a loop return "
                    "`target`, or choose --metric cosine, which compares with the original.",
                )
            for name, arrays in outputs.items():
                scores = class_scores(arrays, len(step), self.name)
                labels = class_labels(step.labels, scores.shape, step.start, data.description)
                rows[name].append(self.units(scores, labels))
        return stack(rows, "labels")


def class_scores(outputs: Outputs, samples: int, metric: str) -> FloatArray:
    """The primary output as float64 (samples, classes); trailing axes of size 1 fall away.

    Raises:
        UsageError: It has another shape, or fewer than two classes.
    """
    name, array = primary_output(outputs, samples, metric)
    squeezed = array.reshape(samples, -1) if array.size == samples * _width(array) else array
    if squeezed.ndim != 2 or squeezed.shape[1] < 2:
        raise UsageError(
            f"metric {metric}: expected scores of shape [samples, classes] with at least two "
            f"classes, found output {name!r} of shape {list(array.shape)}",
            hint="Choose --metric cosine, which takes any shape, or write file.py:function.",
        )
    return squeezed.astype(np.float64)


def class_labels(labels: Array | None, shape: tuple[int, ...], start: int, source: str) -> Classes:
    """The labels as int64 (samples,), checked against scores of that shape.

    Raises:
        DataError: Wrong shape, wrong dtype, or a number that is no class.
    """
    samples, classes = shape
    if labels is None:
        raise DataError(
            f"{source}: samples {start} to {start + samples - 1} have no labels, others have"
        )
    if labels.shape not in ((samples,), (samples, 1)):
        raise DataError(
            f"labels of {source}: expected one class number per sample, shape [{samples}], "
            f"found shape {list(labels.shape)}",
            hint="One-hot labels become class numbers by argmax over their last axis."
            if labels.shape == (samples, classes)
            else None,
        )
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"labels of {source}: expected class numbers of an integer dtype, "
            f"found {labels.dtype.name}",
            hint="They are whole numbers: save them as label.astype('int64')."
            if not (labels % 1).any()
            else "For targets that are not classes choose --metric mse or psnr.",
        )
    flat = labels.reshape(samples).astype(np.int64)
    wrong = np.flatnonzero((flat < 0) | (flat >= classes))
    if wrong.size:
        found, where = int(flat[wrong[0]]), start + int(wrong[0])
        raise DataError(
            f"labels of {source}: expected classes 0 to {classes - 1}, as the model has "
            f"{classes}, found {found} at sample {where}",
            hint="Classes are counted from 0; subtract 1 from labels that count from 1."
            if found == classes
            else None,
        )
    return flat


def ranks(scores: FloatArray, labels: Classes) -> Classes:
    """How many classes come before the labelled one, by score and then by number; 0 is a hit.

    Ties go to the smaller class number, as in argmax. A sample with NaN ranks last: a model that
    answers NaN has not answered.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    before = np.arange(scores.shape[1]) < labels[:, None]
    rank = np.count_nonzero((scores > own) | ((scores == own) & before), axis=1)
    return np.where(np.isnan(scores).any(axis=1), np.int64(scores.shape[1]), rank)


def predicted(scores: FloatArray) -> Classes:
    """Argmax over the last axis, -1 where there is a NaN."""
    return np.where(np.isnan(scores).any(axis=-1), -1, scores.argmax(axis=-1)).astype(np.int64)


def _width(array: Array) -> int:
    """The size of the second axis, where classes are."""
    return array.shape[1] if array.ndim > 1 else 0
