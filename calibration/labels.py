"""Which stored array holds the labels, by its name, its place, or what the model takes."""

from collections.abc import Sequence
from dataclasses import replace

from calibration.axes import ONE
from calibration.fields import Binding, Signature, Stored, sizes_of
from calibration.sources.base import check_even, positional_names
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec

LABEL_NAMES = ("label", "labels", "target", "targets", "y")
"""Names, in any case, of the array that is taken for the labels unless an input has that name.

The likeliest comes first.
"""


def is_class_label(spec: TensorSpec) -> bool:
    """Whether an array holds one integer per sample."""
    return spec.dtype.kind in "iu" and spec.shape[1:] in ((), (1,))


def are_positional(arrays: Sequence[TensorSpec]) -> bool:
    """Whether arrays came without names."""
    return tuple(spec.name for spec in arrays) == positional_names(len(arrays))


def text_of(stored: Sequence[TensorSpec]) -> str | None:
    """The array that says what a sample is: sources let strings pass only there."""
    return next((spec.name for spec in stored if spec.dtype.kind == "U"), None)


def without_label(
    stored: Sequence[TensorSpec], signature: Signature | None, where: str
) -> tuple[list[TensorSpec], str | None]:
    """The arrays that are inputs, and the name of the one that holds the labels.

    Raises:
        DataError: There are texts alone, or several arrays that are called as labels are.
    """
    arrays = [spec for spec in stored if spec.dtype.kind != "U"]
    if not arrays:
        raise DataError(f"{where}: expected arrays of numbers, found texts alone")
    if len(arrays) == 1:
        return arrays, None
    if are_positional(arrays):
        last = arrays[-1]
        if _is_beyond(len(arrays), last, signature):
            return arrays[:-1], last.name
        return arrays, None
    wanted = signature.names if signature else ()
    labels = [
        spec.name
        for spec in arrays
        if spec.name.casefold() in LABEL_NAMES and spec.name not in wanted
    ]
    if signature is None:  # the model will tell: until then the likelier name is the labels
        labels = sorted(labels, key=lambda name: LABEL_NAMES.index(name.casefold()))[:1]
    if len(labels) > 1:
        raise DataError(
            f"{where}: expected one array of labels, found {' and '.join(labels)}",
            hint="keep one of them, or give the others names that are no labels",
        )
    if not labels:
        return arrays, None
    return [spec for spec in arrays if spec.name != labels[0]], labels[0]


def _is_beyond(given: int, last: TensorSpec, signature: Signature | None) -> bool:
    """Whether the last of so many arrays without names is no input, so that it is the labels."""
    if signature is None:
        return is_class_label(last)
    if signature.any_more:
        return given > max(signature.required, 1) and is_class_label(last)
    if given <= signature.required:
        return False
    return given > len(signature.names) or is_class_label(last)


def with_labels(binding: Binding, stored: Stored) -> Binding:
    """Where samples lie in the labels: along the first dimension, or they are of one call.

    Raises:
        DataError: There is another number of labels than of samples.
    """
    if binding.label is None and binding.text is None:
        return binding
    shapes = {spec.name: sizes_of(spec) for spec in stored.specs}
    sizes = {
        field.stored: size
        for field in binding.inputs
        if (size := field.lies.samples(shapes[field.stored])) is not None
    }
    samples = next(iter(sizes.values()), 1)
    beside = {name: shapes[name] for name in (binding.label, binding.text) if name is not None}
    if all(len(shape) and shape[0] == samples for shape in beside.values()):
        return binding
    if samples == 1:
        return replace(binding, beside=ONE)
    check_even(sizes | {n: shape[0] if shape else 1 for n, shape in beside.items()}, stored.where)
    return binding
