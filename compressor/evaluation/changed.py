"""Samples on which the result decides otherwise than the original, or errs most.

One pass over the data; beside one batch it holds the few samples that are to be shown.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.evaluation.classification import (
    Classes,
    ClassificationMetric,
    class_scores,
    predicted,
)
from compressor.evaluation.fidelity import FidelityMetric, sums_of, total
from compressor.evaluation.metrics.agreement import Top1Agreement
from compressor.evaluation.metrics.base import BASELINE, RESULT, Outputs, predictions
from compressor.evaluation.metrics.detection import Detection
from compressor.evaluation.metrics.perplexity import Perplexity
from compressor.evaluation.outputs import paired_outputs
from compressor.evaluation.pictures import picture, tokens
from compressor.evaluation.spread import SpreadMetric
from compressor.evaluation.yardstick import Yardstick
from compressor.graph.tensors import Array
from compressor.results.measurements import ChangedSample
from compressor.system.sparing import spared
from exporters.base import Runner

MOST = 12
"""Samples that are shown."""

_NAME = "changed"


@dataclass(frozen=True)
class Changed:
    """Differences between original and result, sample by sample.

    Attributes:
        samples: At most `MOST`: by falling margin where the outputs are decisions, else by falling
            error.
        total: How many decisions differ in all; None where the outputs are no decisions.
        reason: Why `total` is None.
    """

    samples: tuple[ChangedSample, ...] = ()
    total: int | None = None
    reason: str | None = None


def decides(yardstick: Yardstick) -> bool:
    """Whether the arg-max of the primary output is what counts.

    A metric of the user's own does not tell; then scores of classes are.
    """
    told = (
        ClassificationMetric,
        FidelityMetric,
        SpreadMetric,
        Top1Agreement,
        Perplexity,
        Detection,
    )
    if not any(isinstance(metric, told) for metric in yardstick.metrics):
        return yardstick.classes is not None
    scored = yardstick.primary is not None and yardstick.seen[yardstick.primary].floating
    flat = scored and len(yardstick.seen[yardstick.primary or ""].shape) == 2
    return any(
        isinstance(metric, ClassificationMetric) or (isinstance(metric, Top1Agreement) and flat)
        for metric in yardstick.metrics
    )


def changed_decisions(runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Changed:
    """Samples whose arg-max differs, those first that the original was surest of.

    margin = s[before] - s[after], of the original's scores s: by how much it preferred its own
    decision to the result's. A decision is -1 where the scores hold NaN, and there is no margin.

    Args:
        runners: Original and result as `BASELINE` and `RESULT`.
        data: Samples, with labels or without.
        batch: Samples per inference.

    Raises:
        UsageError: The primary output is not (samples, classes).
    """
    kept = _Largest()
    count = 0
    for step, outputs in predictions(runners, data, batch):
        scores = class_scores(outputs[BASELINE], len(step), _NAME)
        before = predicted(scores)
        after = predicted(class_scores(outputs[RESULT], len(step), _NAME))
        labels = _classes(step)
        rows = np.flatnonzero(before != after)
        count += len(rows)
        for row in rows:
            old, new = int(before[row]), int(after[row])
            margin = None if min(old, new) < 0 else float(scores[row, old] - scores[row, new])
            sample = ChangedSample(
                index=int(step.index[row]),
                before=old,
                after=new,
                label=None if labels is None else int(labels[row]),
                margin=margin,
            )
            kept.offer(np.inf if margin is None else margin, sample, step, int(row))
    return Changed(tuple(kept.shown(data)), count)


def largest_errors(runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Changed:
    """Samples with the largest error = sqrt(Σ (r - x)² / Σ r²), of floating outputs.

    Args:
        runners: Original and result as `BASELINE` and `RESULT`.
        data: Samples.
        batch: Samples per inference.

    Raises:
        UsageError: The outputs of the two do not correspond.
    """
    kept = _Largest()
    for step, outputs in predictions(runners, data, batch):
        for row, error in enumerate(_errors(outputs[BASELINE], outputs[RESULT], len(step))):
            if error > 0:
                sample = ChangedSample(index=int(step.index[row]), error=float(error))
                kept.offer(float(error), sample, step, row)
    reason = "quality is not judged by decisions among classes"
    return Changed(tuple(kept.shown(data)), None, reason)


def _errors(original: Outputs, other: Outputs, samples: int) -> Array:
    sums = total([sums_of(r, x) for r, x in paired_outputs(original, other, samples, _NAME)])
    error, reference = np.sqrt(sums.error), np.sqrt(sums.reference)
    without = np.where(error > 0, np.inf, 0.0)
    relative = np.divide(error, reference, out=without, where=reference > 0)
    return np.where(np.isnan(relative), np.inf, relative)


def _classes(step: Batch) -> Classes | None:
    """Labels that are one class number a sample."""
    labels = step.labels
    if labels is None or labels.dtype.kind not in "iub" or labels.size != len(step):
        return None
    return labels.reshape(-1).astype(np.int64)


def _of_sample(array: Array, step: Batch, name: str) -> Array:
    """What a batch of one holds of an input, without the axis of samples."""
    lies = step.sample_axes[name]
    return array.copy() if lies is None or lies.multiple > 1 else array.squeeze(lies.axis)


@dataclass
class _Largest:
    """The `MOST` samples with the largest keys, and their inputs; the earlier goes first."""

    _heap: list[tuple[float, int, ChangedSample, dict[str, Array]]] = field(default_factory=list)

    def offer(self, key: float, sample: ChangedSample, step: Batch, row: int) -> None:
        """Keep the sample if it is among the largest so far."""
        order = (key, -sample.index)
        if len(self._heap) == MOST and order <= self._heap[0][:2]:
            return
        inputs = {
            name: _of_sample(array, step, name)
            for name, array in step.rows(slice(row, row + 1)).items()
        }
        if step.text is not None:
            # Half a surrogate pair is a character to numpy, and none to JSON.
            text = str(step.text[row]).encode("utf-8", "replace").decode("utf-8")
            sample = sample.model_copy(update={"text": text})
        entry = (*order, sample, inputs)
        place: Callable[..., object] = (
            heapq.heappush if len(self._heap) < MOST else heapq.heapreplace
        )
        place(self._heap, entry)

    def shown(self, data: CalibrationSet) -> Iterator[ChangedSample]:
        """The largest first, with what can be seen of their inputs."""
        for _, _, sample, inputs in sorted(self._heap, reverse=True, key=lambda entry: entry[:2]):
            text = tokens(inputs) if sample.text is None else sample.text
            image = spared(partial(_image, data, inputs), lambda _: None)
            yield sample.model_copy(update={"image": image, "text": text})


def _image(data: CalibrationSet, inputs: Mapping[str, Array]) -> str | None:
    found: Iterable[str | None] = (
        picture(array, data.unnormalized(name, array)) for name, array in inputs.items()
    )
    return next((image for image in found if image is not None), None)
