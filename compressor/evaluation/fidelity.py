"""Metrics of closeness: outputs against the original's, or against targets of their shape."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from calibration.batch import Batch
from calibration.dataset import CalibrationSet
from compressor.errors import DataError
from compressor.evaluation.metrics.base import (
    BASELINE,
    FloatArray,
    Metric,
    Outputs,
    Reference,
    Scores,
    labelled,
    predictions,
    stack,
)
from compressor.evaluation.outputs import evened, paired_outputs, primary_output
from compressor.graph.tensors import Array
from exporters.base import Runner

_CHUNK = 2**20  # values converted to float64 at a time


@dataclass(frozen=True)
class Sums:
    """Per sample, over all values r of the reference and x of the output; each of shape (b,).

    Attributes:
        count: How many values there are.
        reference: Σ r².
        output: Σ x².
        product: Σ r·x.
        error: Σ (r - x)².
        low: min r.
        high: max r.
    """

    count: FloatArray
    reference: FloatArray
    output: FloatArray
    product: FloatArray
    error: FloatArray
    low: FloatArray
    high: FloatArray


class FidelityMetric(Metric):
    """Base of metrics over `Sums`, against the outputs of the original model.

    With `takes_labels` those with as many values a sample as the primary output replace the
    original. Where several outputs are given, all floating ones with a row per sample count, as if
    concatenated.
    """

    @abstractmethod
    def units(self, sums: Sums) -> FloatArray:
        """The statistics (b, k) of sums."""

    def evaluate(self, runners: Mapping[str, Runner], data: CalibrationSet, batch: int) -> Scores:
        """Compare every runner, the original itself included, with the reference.

        Raises:
            DataError: Floating labels do not have the shape of the primary output.
            UsageError: The outputs of the models do not correspond.
        """
        rows: dict[str, list[FloatArray]] = {name: [] for name in runners}
        reference: Reference = "original"
        steps = predictions(runners, data, batch)
        for step, outputs in labelled(steps) if self.takes_labels else steps:
            original = outputs[BASELINE]
            target = None
            if self.takes_labels:
                target = target_of(self.name, step, original, data.description)
            for name, arrays in outputs.items():
                if target is not None:
                    reference = "labels"
                    _, own = primary_output(arrays, len(step), self.name)
                    pairs = [evened(target, own.reshape(len(step), -1))]
                else:
                    pairs = list(paired_outputs(original, arrays, len(step), self.name))
                rows[name].append(self.units(total([sums_of(r, x) for r, x in pairs])))
        return stack(rows, reference)


def target_of(metric: str, step: Batch, original: Outputs, source: str) -> Array | None:
    """The labels as (samples, values) where they are targets: as many as the primary output has.

    Raises:
        DataError: They are floating and have another shape.
    """
    labels = step.labels
    if labels is None or labels.dtype.kind not in "iuf":
        return None
    name, output = primary_output(original, len(step), metric)
    if labels.size == output.size and len(labels) == len(output):
        return labels.reshape(len(step), -1)
    if labels.dtype.kind == "f":
        raise DataError(
            f"labels of {source}: expected targets of the shape of output {name!r}, "
            f"{list(output.shape)}, found {list(labels.shape)}",
            hint="Class numbers become labels as integers: astype(np.int64)."
            if labels.size == len(labels) and not (labels % 1).any()
            else "Leave the labels out to compare with the original model, or name the output "
            "that they are of with --output-metric.",
        )
    return None  # class numbers


def sums_of(reference: Array, output: Array) -> Sums:
    """The sums of one pair of arrays (b, m), in float64 and in pieces.

    Values where both hold the same infinity, or both NaN (masked logits, say), count as zeros.
    """
    samples, width = reference.shape
    step = max(1, _CHUNK // max(width, 1))
    with np.errstate(invalid="ignore", over="ignore"):
        parts = [
            _sums_of_piece(reference[i : i + step], output[i : i + step])
            for i in range(0, samples, step)
        ]
    return Sums(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def total(parts: list[Sums]) -> Sums:
    """The sums over several outputs of the same samples."""
    combine = {"low": np.minimum.reduce, "high": np.maximum.reduce}
    return Sums(
        **{
            field.name: combine.get(field.name, np.add.reduce)(
                [getattr(part, field.name) for part in parts]
            )
            for field in fields(Sums)
        }
    )


def _sums_of_piece(reference: Array, output: Array) -> tuple[FloatArray, ...]:
    r, x = reference.astype(np.float64), output.astype(np.float64)
    alike = ~np.isfinite(r) & ((r == x) | (np.isnan(r) & np.isnan(x)))
    if alike.any():
        r[alike] = x[alike] = 0.0
    error = r - x
    return (
        np.full(len(r), float(r.shape[1])),
        np.einsum("ij,ij->i", r, r),
        np.einsum("ij,ij->i", x, x),
        np.einsum("ij,ij->i", r, x),
        np.einsum("ij,ij->i", error, error),
        r.min(axis=1, initial=np.inf),
        r.max(axis=1, initial=-np.inf),
    )
