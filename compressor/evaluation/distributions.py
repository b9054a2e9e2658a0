"""Metrics of distributions: what a model generates, as a whole, beside what the original does.

A set of the original's outputs of *other* inputs is the reference: in a pipeline of other seeds, of
a single model of the other half of the data. The original itself is compared with it, too, on the
inputs of the result. Its value is the floor that two sets of so many samples have, and the loss is
what the result has beyond it.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, UsageError
from compressor.evaluation.features import FeatureSpace
from compressor.evaluation.feeding import predict
from compressor.evaluation.intervals import LEAST_UNITS
from compressor.evaluation.jackknife import BLOCKS, Indices, blocks_of, pseudo_values
from compressor.evaluation.metrics.base import BASELINE, FloatArray, Metric, Scores
from compressor.evaluation.outputs import shown_output
from compressor.graph.tensors import Array
from exporters.base import Runner

FEWEST = 8
"""Samples of a set below which it has no spread to speak of."""

Kernel = Callable[[FloatArray, FloatArray], FloatArray]


@dataclass(frozen=True)
class Sets:
    """What is compared, in the feature space.

    Attributes:
        own: Of the model that is scored, (n, d).
        reference: Of the original on other inputs, (m, d); `own` for a metric of one set.
        blocks: Rows of `own`, divided.
        others: Rows of `reference`, divided into as many.
    """

    own: FloatArray
    reference: FloatArray
    blocks: list[Indices]
    others: list[Indices]


@dataclass(frozen=True)
class Estimate:
    """A figure of two sets.

    Attributes:
        whole: Of all samples.
        without: Without each block of both sets, (B,).
    """

    whole: float
    without: FloatArray


class FeatureMetric(Metric):
    """Base of metrics in the feature space of a model."""

    needs_features = True
    space: FeatureSpace | None = None

    def within(self, space: FeatureSpace) -> Self:
        """The metric in a feature space."""
        metric = type(self)()
        metric.space = space
        return metric

    def features(self, outputs: Mapping[str, Array], samples: int) -> FloatArray:
        """What the metric sees of the outputs of a batch, (samples, d)."""
        return self._space.features(shown_output(outputs, samples, self.name))

    @property
    def _space(self) -> FeatureSpace:
        if self.space is None:
            raise UsageError(
                f"metric {self.name} is taken in the features of a model, and none is given",
                hint="Pass --features FILE: an ONNX file, a checkpoint, or file.py:function.",
            )
        return self.space


class DistributionMetric(FeatureMetric):
    """Base of metrics of sets; units are blocks of samples.

    What the original makes of a set of samples is kept for the next candidate: an object serves
    one original.
    """

    compares: ClassVar[bool] = True
    """Whether there is a reference; else the figure is of one set."""

    def __init__(self) -> None:
        self._known: dict[str, FloatArray] = {}

    @abstractmethod
    def estimate(self, sets: Sets) -> Estimate:
        """The figure of finite features."""

    def fewest(self, width: int) -> int:
        """Samples of a set that a figure of so many features proves something from."""
        del width
        return FEWEST

    def blocks(self, width: int) -> int:
        """Blocks of samples, at most, for so many features."""
        del width
        return BLOCKS

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Every runner on one half of the data, against the original on the other.

        Raises:
            DataError: There are too few samples.
            UsageError: There is no feature space, or it does not take the outputs.
        """
        if not self.compares:
            return self._scores(runners, data, data, batch, len(data))
        if len(data) < 2 * FEWEST:
            raise self._too_few(len(data), 2 * FEWEST)
        own, other = data.split(0.5, 0)
        return self._scores(runners, own, other, batch, len(data))

    def against(
        self, runners: Mapping[str, Runner], data: CalibrationSet, other: CalibrationSet, batch: int
    ) -> Scores:
        """Every runner on all of the data, against the original on other samples.

        Raises:
            DataError: There are too few samples.
            UsageError: There is no feature space, or it does not take the outputs.
        """
        return self._scores(runners, data, other, batch, len(data))

    def aggregate(self, units: FloatArray) -> FloatArray:
        """Mean of the blocks."""
        return np.asarray(units[..., 0].mean(axis=-1))

    def _scores(
        self,
        runners: Mapping[str, Runner],
        data: CalibrationSet,
        other: CalibrationSet,
        batch: int,
        samples: int,
    ) -> Scores:
        reference = self._of_original(runners[BASELINE], other, batch) if self.compares else None
        units, width = {}, 0
        for name, runner in runners.items():
            of_original = name == BASELINE
            own = (self._of_original if of_original else self._rows)(runner, data, batch)
            sets, width = self._sets(own, own if reference is None else reference), own.shape[1]
            units[name] = self.units_of(sets)
        share = samples / len(data)
        least = round(share * max(self.fewest(width), LEAST_UNITS))
        return Scores(units, "original", samples, blocks=True, least=least)

    def units_of(self, sets: Sets) -> FloatArray:
        """Pseudo-values of the blocks; NaN where a model answers so."""
        sizes = [len(block) for block in sets.blocks]
        if not (np.isfinite(sets.own).all() and np.isfinite(sets.reference).all()):
            return np.full((len(sizes), 1), np.nan)
        found = self.estimate(sets)
        return pseudo_values(found.whole, found.without, sizes)

    def _sets(self, own: FloatArray, reference: FloatArray) -> Sets:
        n, m = len(own), len(reference)
        if min(n, m) < FEWEST:
            raise self._too_few(min(n, m), FEWEST)
        most = min(n, m, self.blocks(own.shape[1]))
        blocks = blocks_of(n, most)
        return Sets(own, reference, blocks, blocks if reference is own else blocks_of(m, most))

    def _too_few(self, found: int, least: int) -> DataError:
        return DataError(
            f"metric {self.name} compares distributions: expected {least} samples or more, found "
            f"{found}",
            hint="Give more samples, or --units of a pipeline.",
        )

    def _of_original(self, runner: Runner, data: CalibrationSet, batch: int) -> FloatArray:
        """The original's rows, which the next candidate is compared with again."""
        key = data.fingerprint()
        if key not in self._known:
            self._known[key] = self._rows(runner, data, batch)
        return self._known[key]

    def _rows(self, runner: Runner, data: CalibrationSet, batch: int) -> FloatArray:
        parts = [
            self.features(predict(runner, step.inputs, len(step), step.sample_axes), len(step))
            for step in data.batches(batch)
        ]
        widths = {part.shape[1] for part in parts}
        if len(widths) > 1:
            raise UsageError(
                f"features {self._space.name}: expected as many of every sample, found "
                f"{' and '.join(map(str, sorted(widths)))}",
                hint="Pool over sizes that differ from sample to sample.",
            )
        return np.concatenate(parts)


def distances(one: FloatArray, other: FloatArray) -> FloatArray:
    """Euclidean distance of every pair of rows, (a, b); of rows about 0, or digits are lost."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2 * one @ other.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))


def pair_sums(
    one: FloatArray,
    other: FloatArray,
    blocks: list[Indices],
    others: list[Indices],
    kernel: Kernel,
) -> FloatArray:
    """Σ kernel(x, y) over the pairs of each block of one and of other, (B, B).

    A block of rows is held against all others at a time: n² values are never in memory.
    """
    order, starts = np.concatenate(others), np.cumsum([0, *map(len, others[:-1])])
    arranged = other[order]
    return np.stack(
        [np.add.reduceat(kernel(one[block], arranged).sum(axis=0), starts) for block in blocks]
    )


def without_each(sums: FloatArray) -> tuple[float, FloatArray]:
    """The total of sums over pairs of blocks, and that without each block on either side, (B,)."""
    total = float(sums.sum())
    return total, total - sums.sum(axis=0) - sums.sum(axis=1) + np.diagonal(sums)


def left(blocks: list[Indices]) -> FloatArray:
    """How many samples are left without each block, (B,)."""
    sizes = np.array([len(block) for block in blocks], dtype=np.float64)
    return np.asarray(sizes.sum() - sizes)
