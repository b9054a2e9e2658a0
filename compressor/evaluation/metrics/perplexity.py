"""Perplexity of a language model: how many tokens it hesitates between, the less the better.

perplexity = exp(Σ -log softmax(logits)[label] / number of labels), over all labelled positions of
all sequences. Logits are (samples, positions, vocabulary), a label is the token that each position
has to predict, (samples, positions); negative ones, such as -100, do not count. Labels that are the
input's own tokens, as Hugging Face's models take them, are shifted by one position: each has to
predict the next.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics.base import (
    FloatArray,
    Metric,
    Scores,
    labelled,
    predictions,
    stack,
)
from compressor.evaluation.outputs import primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner


class Perplexity(Metric):
    """Each sequence is a unit: its summed cross-entropy in nats, and its labelled positions."""

    name = "perplexity"
    higher_is_better = False
    needs_labels = True
    takes_labels = True

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Cross-entropy and positions per sequence, (n, 2).

        Raises:
            DataError: There are no labels, or they are not token numbers of these logits.
            UsageError: The model's output is not (samples, positions, vocabulary).
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        for step, outputs in labelled(predictions(runners, data, batch)):
            for name, arrays in outputs.items():
                logits = self._logits(arrays, len(step))
                labels = _labels(step, logits.shape, data.description)
                rows[name].append(_cross_entropy(logits, labels))
        return stack(rows, "labels")

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Exp of the mean over all positions."""
        nats, positions = np.moveaxis(units.sum(axis=-2), -1, 0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            return np.asarray(np.exp(nats / positions))

    def _logits(self, outputs: Mapping[str, Array], samples: int) -> Array:
        name, array = primary_output(outputs, samples, self.name)
        if array.ndim != 3 or array.shape[2] < 2:
            raise UsageError(
                f"metric {self.name}: expected logits of shape [samples, positions, vocabulary], "
                f"found output {name!r} of shape {list(array.shape)}",
                hint="Choose --metric cosine, which takes any shape.",
            )
        return array


def _cross_entropy(logits: Array, labels: npt.NDArray[np.int64]) -> FloatArray:
    """-log softmax(logits)[label], summed over the labelled positions, and their number: (b, 2)."""
    exact = logits.astype(np.float64)
    top = exact.max(axis=2, keepdims=True)
    with np.errstate(invalid="ignore"):  # of logits that are not finite nothing finite comes
        total = np.log(np.exp(exact - top).sum(axis=2)) + top[..., 0]
    counted = labels >= 0
    own = np.take_along_axis(exact, np.maximum(labels, 0)[..., None], axis=2)[..., 0]
    nats = np.where(counted, total - own, 0.0)
    return np.stack([nats.sum(axis=1), counted.sum(axis=1)], axis=1).astype(np.float64)


def _labels(step: Batch, shape: tuple[int, ...], source: str) -> npt.NDArray[np.int64]:
    labels, (samples, positions, vocabulary) = step.labels, shape
    if labels is None:
        raise DataError(
            f"metric perplexity needs labels; {source} has none",
            hint="Give an array `label` with the next token at every position, by --eval, or let a "
            "loop return it as `target`.",
        )
    if positions == 1 and labels.shape == (samples,):
        labels = labels[:, None]
    if labels.shape != (samples, positions) or labels.dtype.kind not in "iu":
        raise DataError(
            f"labels of {source}: expected a token number at every position, integers of shape "
            f"{[samples, positions]}, found {labels.dtype.name}{list(labels.shape)}"
        )
    if labels.max(initial=0) >= vocabulary:
        raise DataError(
            f"labels of {source}: expected tokens 0 to {vocabulary - 1}, found {labels.max()}"
        )
    return shifted(step, labels.astype(np.int64))


def shifted(step: Batch, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The labels, moved by one position where they are the tokens of an input."""
    if not is_unshifted(step):
        return labels
    moved = np.full_like(labels, -100)
    moved[:, :-1] = labels[:, 1:]
    return moved


def is_unshifted(step: Batch) -> bool:
    """Whether labels are the tokens of an input at the same positions, more than one of them."""
    if step.labels is None or step.labels.ndim != 2 or step.labels.shape[1] < 2:
        return False
    if step.labels.dtype.kind not in "iu":
        return False
    labels = step.labels.astype(np.int64)
    counted = labels >= 0
    return any(
        array.shape == labels.shape
        and array.dtype.kind in "iu"
        and bool(counted.any())
        and bool((array[counted] == labels[counted]).all())
        for array in step.inputs.values()
    )


METRIC = Perplexity()
