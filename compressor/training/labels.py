"""Class labels that are learned beside the original's answers, and the output that they are of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from compressor.errors import DataError
from compressor.graph.tensors import Array

NONE = -100
"""The label of what has no class and does not count: `ignore_index` of torch's cross-entropy."""


@dataclass(frozen=True)
class ClassLabels:
    """Whole numbers beside samples.

    Attributes:
        shape: Of those of some samples.
        least: The least of all but NONE.
        largest: The largest.
    """

    shape: tuple[int, ...]
    least: int
    largest: int


def class_labels(groups: Iterable[Array], count: int) -> ClassLabels | None:
    """What labels of samples have in common; None where they are not whole numbers, or none counts.

    Args:
        groups: Labels, a sample an entry along the first axis.
        count: How many samples the shape is of.
    """
    found = list(groups)
    if not found or any(one.dtype.kind not in "iu" for one in found):
        return None
    counted = [one[one != NONE] for one in found]
    counted = [one for one in counted if one.size]
    if not counted:
        return None
    least, largest = min(int(one.min()) for one in counted), max(int(one.max()) for one in counted)
    return ClassLabels((count, *found[0].shape[1:]), least, largest)


def labelled_output(
    labels: ClassLabels, answers: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> str | None:
    """The first output with a score for every class behind the axes of labels; None without.

    Args:
        labels: What is known of them.
        answers: Outputs that may score classes.
        shapes: Output → its shape on the same samples.

    Raises:
        DataError: Outputs have places for the labels, and no such classes.
    """
    fit = [name for name in answers if _has_places(shapes[name], labels.shape)]
    for name in fit:
        if labels.least >= 0 and labels.largest < shapes[name][-1]:
            return name
    if not fit:
        return None
    told = " or ".join(f"{name!r}, which has 0 to {shapes[name][-1] - 1}" for name in fit)
    outside = labels.least if labels.least < 0 else labels.largest
    raise DataError(
        f"label {outside} is no class of output {told}; labels go from {labels.least} to "
        f"{labels.largest}",
        hint=f"Number classes from 0; {NONE} is a place without one. Or set [train] labels = 0.",
    )


def entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy over labels that count; 0 where none does.

    Args:
        scores: (..., classes), logarithms of shares up to a constant.
        labels: As many as there are rows of scores.
    """
    flat = labels.reshape(-1).long()
    total = functional.cross_entropy(
        scores.reshape(-1, scores.shape[-1]), flat, ignore_index=NONE, reduction="sum"
    )
    return total / torch.count_nonzero(flat != NONE).clamp(min=1)


def _has_places(shape: tuple[int, ...], labels: tuple[int, ...]) -> bool:
    """Whether labels lie as an output does, but for its classes."""
    alike = shape[:-1] == labels or (*shape[:-1], 1) == labels
    return len(shape) >= 2 and alike and shape[-1] >= 2
