"""What a metric is, and how one runs models over data.

A new metric is one module `metrics/NAME.py` that ends in `METRIC = ...`; it is found by its file
name. A library user passes an instance.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.evaluation.feeding import predict
from compressor.graph.tensors import Array
from exporters.base import Runner

FloatArray = npt.NDArray[np.float64]
Outputs = Mapping[str, Array]
Reference = Literal["labels", "original"]

BASELINE = "baseline"
RESULT = "result"
TARGET = "target"
"""The names under which a metric is handed the runners. A metric that scores against
the original takes the outputs of `BASELINE` for it. An output `TARGET` is no answer: it is what the
answer should be, as labels are where the data has some."""


@dataclass(frozen=True)
class Scores:
    """The scores that a metric gave.

    Attributes:
        units: Runner → statistics of shape (n, k): one row per unit that can be resampled
            (a sample, as a rule), the same units in the same order for every runner.
        reference: What the runners were scored against.
        samples: How many samples were seen.
        blocks: Whether rows are blocks of the samples, as `jackknife` makes them.
        least: Samples below which the aggregate proves nothing.
        reasons: Runner → why it has no value.
    """

    units: Mapping[str, FloatArray]
    reference: Reference
    samples: int
    blocks: bool = False
    least: int = 0
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def noun(self) -> str:
        """What is counted: samples, or batches where the metric has no value per sample."""
        if self.blocks or len(next(iter(self.units.values()))) == self.samples:
            return "sample"
        return "batch"


class Metric(ABC):
    """A figure of merit that is an aggregate over units.

    Attributes:
        name: As the user calls it.
        unit: Unit of the aggregate: "%", "dB" or none.
        higher_is_better: Direction.
        whole: Whether it looks at all outputs of a model together, and not at the primary one.
        proportion: The aggregate is 100 · mean of one column that holds zeros and ones, so that
            a score interval applies where the column really holds nothing else.
        needs_labels: Whether it says nothing without labels.
        takes_labels: Whether it scores against labels where there are some: the data's, or an
            output `target` that a loop returns beside what is judged.
        takes_decisions: Whether it scores tokens or texts rather than logits beside them.
        needs_features: Whether it is taken in the features of a model (`--features`).
        relative: Whether a share of the original's own value means something; not where that is
            0 but for chance.
        falls: Whether the original's own value falls as more samples are taken.
        needs_gradients: Whether it attacks inputs (`--radius`), by gradients of the graph in torch.
        settings: What it was taken with, for people; None where there is nothing to set.
    """

    name: str
    unit: str = ""
    higher_is_better: bool = True
    whole: ClassVar[bool] = False
    proportion: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    takes_labels: ClassVar[bool] = False
    takes_decisions: ClassVar[bool] = False
    needs_features: ClassVar[bool] = False
    relative: ClassVar[bool] = True
    falls: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = False

    @property
    def settings(self) -> str | None:
        """See above."""
        return None

    @abstractmethod
    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Run every runner over the data in batches of `batch` and keep scores only."""

    @abstractmethod
    def aggregate(self, units: FloatArray) -> FloatArray:
        """The values (...) of statistics (..., n, k): leading axes are resamples."""


def predictions(
    runners: Mapping[str, Runner], data: CalibrationSet, batch: int
) -> Iterator[tuple[Batch, dict[str, dict[str, Array]]]]:
    """Run every runner on every batch, one batch in memory at a time.

    Yields:
        The batch, and by runner the outputs by name.
    """
    for step in data.batches(batch):
        yield (
            step,
            {
                name: predict(r, step.inputs, len(step), step.sample_axes)
                for name, r in runners.items()
            },
        )


def labelled(
    steps: Iterator[tuple[Batch, dict[str, dict[str, Array]]]],
) -> Iterator[tuple[Batch, dict[str, dict[str, Array]]]]:
    """Batches and outputs of `predictions`, an output `TARGET` put in the place of labels."""
    for step, outputs in steps:
        target = next(iter(outputs.values())).get(TARGET)
        if target is None or all(len(arrays) == 1 for arrays in outputs.values()):
            yield step, outputs
            continue
        answers = {
            runner: {name: array for name, array in arrays.items() if name != TARGET}
            for runner, arrays in outputs.items()
        }
        yield step if step.labels is not None else replace(step, labels=target), answers


def stack(rows: Mapping[str, list[FloatArray]], reference: Reference) -> Scores:
    """Scores with one row per sample out of the (batch, k) rows of every batch."""
    units = {name: np.concatenate(parts) for name, parts in rows.items()}
    return Scores(units, reference, len(next(iter(units.values()))))
