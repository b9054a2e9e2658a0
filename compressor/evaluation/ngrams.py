"""Runs of n tokens or characters that two sequences share, and metrics over their counts."""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.evaluation.language import Sequences, as_sequences, sequences_of
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Reference,
    Scores,
    labelled,
    predictions,
    stack,
)
from exporters.base import Runner


class SequenceMetric(Metric):
    """Base of metrics of generated sequences, against labels that are some, else the original's."""

    unit = "%"
    takes_labels = True
    takes_decisions = True

    @abstractmethod
    def counts(self, reference: Sequence[object], own: Sequence[object]) -> list[float]:
        """The statistics of one pair of sequences: texts, or lists of tokens."""

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Statistics of each sample, (n, k).

        Raises:
            UsageError: The output is neither tokens nor texts.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        against: Reference = "original"
        for step, outputs in labelled(predictions(runners, data, batch)):
            found = {n: sequences_of(arrays, len(step), self.name) for n, arrays in outputs.items()}
            expected = found[BASELINE]
            labels = None if step.labels is None else as_sequences(step.labels, len(step))
            if labels is not None and _alike(labels, expected):
                expected, against = labels, "labels"
            for name, own in found.items():
                pairs = zip(expected, own, strict=True)
                rows[name].append(np.array([self.counts(*pair) for pair in pairs], np.float64))
        return stack(rows, against)


def _alike(one: Sequences, other: Sequences) -> bool:
    """Whether both are texts, or both are tokens."""
    return isinstance(one[0], str) == isinstance(other[0], str)


def shared(
    reference: Sequence[object], own: Sequence[object], order: int
) -> tuple[float, float, float]:
    """Runs of `order` that both have, each as often as the one with fewer; then those of each."""
    one, other = _runs(reference, order), _runs(own, order)
    return float((one & other).total()), float(one.total()), float(other.total())


def _runs(sequence: Sequence[object], order: int) -> "Counter[tuple[object, ...]]":
    return Counter(zip(*(sequence[start:] for start in range(order)), strict=False))
