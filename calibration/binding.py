"""Which stored array feeds which input of the model, and which one holds the labels."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from calibration.axes import Layout, SampleAxis, layout_of, likely_axes
from calibration.fields import Binding, BoundField, Signature, Stored, sizes_of
from calibration.fit import check, described
from calibration.labels import are_positional, text_of, with_labels, without_label
from calibration.preprocess import (
    Preprocess,
    apply_preprocess,
    check_size,
    fields_to_preprocess,
)
from calibration.sources.base import positional_names
from compressor.errors import DataError
from compressor.graph.batch import BATCH
from compressor.graph.tensors import Dimension, TensorSpec


def unbound(stored: Stored, preprocess: Preprocess, signature: Signature | None = None) -> Binding:
    """The inputs that the data has by itself; float64 becomes float32.

    A single array without a name is called `input`. Of several arrays without names, the last is
    the labels if the model takes one less, or, where nobody knows, if it holds one integer a
    sample.
    """
    where = stored.where
    arrays, label = without_label(stored.specs, signature, where=where)
    if signature is None and label is not None and not _counts_alike(arrays, label, stored):
        arrays, label = [spec for spec in stored.specs if spec.dtype.kind != "U"], None
    fields = _preprocessed(arrays, preprocess, where)
    shapes = {field.stored: sizes_of(field.spec) for field in fields}
    axes = _declared_axes(fields, shapes, signature, stored) or likely_axes(shapes)
    fields = [_placed(field, axes[field.stored], field.spec.dtype) for field in fields]
    if len(fields) == 1 and are_positional(stored.specs):
        (name,) = positional_names(1)
        fields = [replace(fields[0], spec=replace(fields[0].spec, name=name))]
    return with_labels(Binding(tuple(fields), label, text_of(stored.specs)), stored)


def bound(stored: Stored, inputs: Sequence[TensorSpec], preprocess: Preprocess) -> Binding:
    """Match the data to a model's inputs: several by name, a single one by position.

    Arrays without names match several inputs by position, and one more than there are inputs is
    the labels. Arrays that no input asks for are left out.

    Raises:
        DataError: Names, types or shapes do not fit; all that is wrong is said at once.
    """
    where = stored.where
    signature = Signature(tuple(spec.name for spec in inputs), len(inputs))
    arrays, label = without_label(stored.specs, signature, where=where)
    chosen = _matched(arrays, inputs, where)
    fields = _preprocessed(chosen, preprocess, where)
    layout = _layout(fields, inputs, stored)
    check(fields, inputs, preprocess, where, fits=layout is not None)
    assert layout is not None  # `_check` has said why not
    placed = tuple(
        _named_as(_placed(field, lies, wanted.dtype), wanted)
        for field, wanted, lies in zip(fields, inputs, layout.axes, strict=True)
    )
    return with_labels(Binding(placed, label, text_of(stored.specs), layout.fixed), stored)


def _layout(
    fields: Sequence[BoundField], inputs: Sequence[TensorSpec], stored: Stored
) -> Layout | None:
    """Where samples lie; what only a size tells must be told by every call."""
    shapes = [sizes_of(field.spec) for field in fields]
    layout = layout_of(inputs, shapes, calls=stored.calls)
    if layout is None or not layout.guessed or not stored.calls:
        return layout
    axes = {field.stored: lies for field, lies in zip(fields, layout.axes, strict=True)}
    for call in stored.survey():
        sizes = {lies.samples(call[name]) for name, lies in axes.items()}
        if len(sizes - {None}) > 1:
            return layout_of(inputs, shapes, calls=True, guess=False)
    return layout


def _counts_alike(arrays: Sequence[TensorSpec], label: str, stored: Stored) -> bool:
    """Whether what is called as labels has an entry a sample; else a model may take it."""
    shapes = {spec.name: sizes_of(spec) for spec in stored.specs}
    axes = likely_axes({spec.name: shapes[spec.name] for spec in arrays})
    counts = (lies.samples(shapes[name]) for name, lies in axes.items())
    samples = next((count for count in counts if count is not None), 1)
    return samples == 1 or shapes[label][:1] == (samples,)


def _declared_axes(
    fields: Sequence[BoundField],
    shapes: Mapping[str, tuple[int, ...]],
    signature: Signature | None,
    stored: Stored,
) -> dict[str, SampleAxis] | None:
    """Where `--input` says that samples lie; None unless it describes every array and fits."""
    declared = {spec.name: spec for spec in signature.specs} if signature else {}
    single = len(declared) == len(fields) == 1
    if single or (len(declared) == len(fields) and are_positional([f.spec for f in fields])):
        declared = dict(zip((field.stored for field in fields), declared.values(), strict=True))
    if not all(field.stored in declared for field in fields):
        return None
    inputs = [declared[field.stored] for field in fields]
    layout = layout_of(inputs, list(shapes.values()), calls=stored.calls)
    if layout is None:
        return None
    return {field.stored: lies for field, lies in zip(fields, layout.axes, strict=True)}


def _placed(field: BoundField, lies: SampleAxis, dtype: np.dtype[np.generic]) -> BoundField:
    """The field with what the model sees of it, the size that counts samples by name."""
    shape: list[Dimension] = list(field.spec.shape)
    if lies.stored is not None:
        del shape[lies.stored]
    if lies.taken is not None:
        if lies.kept:
            del shape[lies.taken.axis]
        if lies.stored is None and shape:
            del shape[lies.taken.axis]
        counted = BATCH if lies.multiple == 1 else f"{BATCH}*{lies.multiple}"
        shape.insert(lies.taken.axis, counted)
    return replace(field, spec=replace(field.spec, dtype=dtype, shape=tuple(shape)), lies=lies)


def _named_as(field: BoundField, wanted: TensorSpec) -> BoundField:
    """The field under the name of an input, with as many axes."""
    shape, rank = field.spec.shape, len(wanted.shape)
    shape = (1,) * (rank - len(shape)) + shape[max(0, len(shape) - rank) :]
    return replace(field, spec=replace(field.spec, name=wanted.name, shape=shape), wanted=wanted)


def _preprocessed(
    arrays: Sequence[TensorSpec], preprocess: Preprocess, where: str
) -> list[BoundField]:
    """What the model sees of each array, found by preprocessing no samples of it."""
    chosen = fields_to_preprocess(arrays, preprocess, where)
    fields = []
    for spec in arrays:
        what = f"{where}, {spec.name!r}"
        check_size(spec, preprocess, what)
        dtype, shape = spec.dtype, spec.shape
        if spec.name in chosen:
            none = apply_preprocess(np.empty((0, *sizes_of(spec)[1:]), dtype), preprocess, what)
            dtype, shape = none.dtype, (*shape[:1], *none.shape[1:])
        dtype = np.dtype(np.float32) if dtype == np.float64 else dtype
        fields.append(
            BoundField(spec.name, TensorSpec(spec.name, dtype, shape), spec.name in chosen)
        )
    return fields


def _matched(
    arrays: Sequence[TensorSpec], inputs: Sequence[TensorSpec], where: str
) -> list[TensorSpec]:
    by_name = {spec.name: spec for spec in arrays}
    if all(spec.name in by_name for spec in inputs):
        return [by_name[spec.name] for spec in inputs]
    if len(arrays) == len(inputs) and (len(inputs) == 1 or are_positional(arrays)):
        return list(arrays)
    missing = [spec.name for spec in inputs if spec.name not in by_name]
    close = {name: difflib.get_close_matches(name, by_name, n=1, cutoff=0.5) for name in missing}
    renames = [f"{found[0]} to {name}" for name, found in close.items() if found]
    raise DataError(
        f"{where}: expected arrays for the inputs {', '.join(map(str, inputs))}, "
        f"found {', '.join(map(str, described(arrays)))}: {', '.join(missing)} missing",
        hint=f"rename {' and '.join(renames)}" if renames else "name the arrays as the inputs",
    )
