"""Which stored array feeds which input of the model, and which one holds the labels."""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.axes import FIRST, ONE, Layout, SampleAxis, layout_of, likely_axes
from calibration.preprocess import (
    Preprocess,
    apply_preprocess,
    check_size,
    fields_to_preprocess,
)
from calibration.sources.base import check_even, positional_names
from calibration.values import is_convertible, is_float
from compressor.errors import DataError
from compressor.graph.batch import BATCH, BatchAxis, batch_axes
from compressor.graph.tensors import Dimension, TensorSpec

LABEL_NAMES = ("label", "labels", "target", "targets", "y")
"""Names, in any case, of the array that is taken for the labels unless an input has that name.

The likeliest comes first.
"""


@dataclass(frozen=True)
class BoundField:
    """An input: the stored array behind it, and what the model sees of it.

    Attributes:
        stored: Name of the array.
        spec: What the model sees, the size that counts samples by name.
        preprocessed: Whether preprocessing applies to it.
        lies: Where its samples are.
        wanted: What the model takes; None where no model has been asked.
    """

    stored: str
    spec: TensorSpec
    preprocessed: bool
    lies: SampleAxis = FIRST
    wanted: TensorSpec | None = None


@dataclass(frozen=True)
class Binding:
    """The inputs in the model's order, and the stored arrays of labels and of texts.

    Attributes:
        inputs: One an input of the model.
        label: Name of the array of labels.
        text: Name of the array that says what a sample is.
        fixed: How many samples a call has, where the model has it baked in.
        beside: How samples lie in labels and texts.
    """

    inputs: tuple[BoundField, ...]
    label: str | None
    text: str | None = None
    fixed: int | None = None
    beside: SampleAxis = FIRST

    @property
    def axes(self) -> dict[str, SampleAxis]:
        """Name of a stored array that is wanted → where its samples lie."""
        axes = {name: self.beside for name in (self.label, self.text) if name is not None}
        return axes | {field.stored: field.lies for field in self.inputs}

    @property
    def stored_axes(self) -> dict[str, int | None]:
        """The same, by the axis of the stored array."""
        return {name: lies.stored for name, lies in self.axes.items()}

    @property
    def each(self) -> tuple[str, ...]:
        """Stored arrays with a value a sample where the model takes one a call."""
        return tuple(
            field.stored
            for field in self.inputs
            if field.lies.taken is None and field.lies.stored is not None
        )


@dataclass(frozen=True)
class Signature:
    """What a model is known to take before it is a graph.

    Attributes:
        names: Its inputs, in order.
        required: How many of them must be given.
        any_more: Whether it takes others, by any name.
        specs: Of those whose shape is known.
        complete: Whether these are all, under the names of the model, for good.
    """

    names: tuple[str, ...]
    required: int
    any_more: bool = False
    specs: tuple[TensorSpec, ...] = ()
    complete: bool = False


@dataclass(frozen=True)
class Stored:
    """What data has.

    Attributes:
        specs: Its arrays, with all their sizes: of all samples, or of the first call.
        calls: Whether it comes in calls.
        survey: The shapes of the arrays in each call, for which it may take a pass.
        where: Names the data, to begin messages with.
    """

    specs: tuple[TensorSpec, ...]
    calls: bool
    survey: Callable[[], Iterable[Mapping[str, tuple[int, ...]]]]
    where: str


def unbound(stored: Stored, preprocess: Preprocess, signature: Signature | None = None) -> Binding:
    """The inputs that the data has by itself; float64 becomes float32.

    A single array without a name is called `input`. Of several arrays without names, the last is
    the labels if the model takes one less, or, where nobody knows, if it holds one integer a
    sample.
    """
    where = stored.where
    arrays, label = _without_label(stored.specs, signature, where=where)
    if signature is None and label is not None and not _counts_alike(arrays, label, stored):
        arrays, label = [spec for spec in stored.specs if spec.dtype.kind != "U"], None
    fields = _preprocessed(arrays, preprocess, where)
    shapes = {field.stored: _sizes(field.spec) for field in fields}
    axes = _declared_axes(fields, shapes, signature, stored) or likely_axes(shapes)
    fields = [_placed(field, axes[field.stored], field.spec.dtype) for field in fields]
    if len(fields) == 1 and _is_positional(stored.specs):
        (name,) = positional_names(1)
        fields = [replace(fields[0], spec=replace(fields[0].spec, name=name))]
    return _with_labels(Binding(tuple(fields), label, _text(stored.specs)), stored)


def bound(stored: Stored, inputs: Sequence[TensorSpec], preprocess: Preprocess) -> Binding:
    """Match the data to a model's inputs: several by name, a single one by position.

    Arrays without names match several inputs by position, and one more than there are inputs is
    the labels. Arrays that no input asks for are left out.

    Raises:
        DataError: Names, types or shapes do not fit; all that is wrong is said at once.
    """
    where = stored.where
    signature = Signature(tuple(spec.name for spec in inputs), len(inputs))
    arrays, label = _without_label(stored.specs, signature, where=where)
    chosen = _matched(arrays, inputs, where)
    fields = _preprocessed(chosen, preprocess, where)
    layout = _layout(fields, inputs, stored)
    _check(fields, inputs, preprocess, where, fits=layout is not None)
    assert layout is not None  # `_check` has said why not
    placed = tuple(
        _named_as(_placed(field, lies, wanted.dtype), wanted)
        for field, wanted, lies in zip(fields, inputs, layout.axes, strict=True)
    )
    return _with_labels(Binding(placed, label, _text(stored.specs), layout.fixed), stored)


def _layout(
    fields: Sequence[BoundField], inputs: Sequence[TensorSpec], stored: Stored
) -> Layout | None:
    """Where samples lie; what only a size tells must be told by every call."""
    shapes = [_sizes(field.spec) for field in fields]
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
    shapes = {spec.name: _sizes(spec) for spec in stored.specs}
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
    if single or (len(declared) == len(fields) and _is_positional([f.spec for f in fields])):
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


def _with_labels(binding: Binding, stored: Stored) -> Binding:
    """Where samples lie in the labels: along the first dimension, or they are of one call.

    Raises:
        DataError: There is another number of labels than of samples.
    """
    if binding.label is None and binding.text is None:
        return binding
    shapes = {spec.name: _sizes(spec) for spec in stored.specs}
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


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(size for size in spec.shape if isinstance(size, int))


def is_class_label(spec: TensorSpec) -> bool:
    """Whether an array holds one integer per sample."""
    return spec.dtype.kind in "iu" and spec.shape[1:] in ((), (1,))


def _is_positional(arrays: Sequence[TensorSpec]) -> bool:
    return tuple(spec.name for spec in arrays) == positional_names(len(arrays))


def _text(stored: Sequence[TensorSpec]) -> str | None:
    """The array that says what a sample is: sources let strings pass only there."""
    return next((spec.name for spec in stored if spec.dtype.kind == "U"), None)


def _without_label(
    stored: Sequence[TensorSpec], signature: Signature | None, where: str
) -> tuple[list[TensorSpec], str | None]:
    arrays = [spec for spec in stored if spec.dtype.kind != "U"]
    if not arrays:
        raise DataError(f"{where}: expected arrays of numbers, found texts alone")
    if len(arrays) == 1:
        return arrays, None
    if _is_positional(arrays):
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
            none = apply_preprocess(np.empty((0, *_sizes(spec)[1:]), dtype), preprocess, what)
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
    if len(arrays) == len(inputs) and (len(inputs) == 1 or _is_positional(arrays)):
        return list(arrays)
    missing = [spec.name for spec in inputs if spec.name not in by_name]
    close = {name: difflib.get_close_matches(name, by_name, n=1, cutoff=0.5) for name in missing}
    renames = [f"{found[0]} to {name}" for name, found in close.items() if found]
    raise DataError(
        f"{where}: expected arrays for the inputs {', '.join(map(str, inputs))}, "
        f"found {', '.join(map(str, _described(arrays)))}: {', '.join(missing)} missing",
        hint=f"rename {' and '.join(renames)}" if renames else "name the arrays as the inputs",
    )


def _described(arrays: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Stored arrays for messages, with a name where they seem to count samples."""
    axes = likely_axes({spec.name: _sizes(spec) for spec in arrays})
    described = []
    for spec in arrays:
        shape, at = list(spec.shape), axes[spec.name].stored
        if at is not None:
            shape[at] = BATCH
        described.append(replace(spec, shape=tuple(shape)))
    return described


def _check(
    fields: Sequence[BoundField],
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    where: str,
    *,
    fits: bool,
) -> None:
    found = _described([field.spec for field in fields])
    wrong: list[tuple[TensorSpec, TensorSpec]] = []
    hints: list[str | None] = []
    symbols: dict[str, int] = {}
    axes = batch_axes(inputs)
    for field, have, expected in zip(fields, found, inputs, strict=True):
        if not is_convertible(have.dtype, expected.dtype):
            wrong.append((expected, have))
            hints.append(_dtype_hint(replace(field, spec=have), expected, preprocess))
        if not fits and not _shape_fits(expected, field.spec, axes[expected.name], symbols):
            wrong.append((expected, have))
            hints.append(_shape_hint(expected, have, preprocess))
    if not fits and not wrong:  # each by itself fits, but not with the others
        counted = {f.stored: (f.spec, axes[e.name]) for f, e in zip(fields, inputs, strict=True)}
        check_even(
            {n: _sizes(s)[a.axis] // a.multiple for n, (s, a) in counted.items() if a}, where
        )
        wrong = list(zip(inputs, found, strict=True))
        hints.append(
            "say with --input 'name:float32[2,batch,8]' where the samples of each input lie"
        )
    if wrong:
        said = "; ".join(f"expected {e}, found {f}" for e, f in dict.fromkeys(wrong))
        hint = ", and ".join(dict.fromkeys(hint for hint in hints if hint))
        raise DataError(f"{where}: {said}", hint=hint or None)


def _shape_fits(
    expected: TensorSpec, found: TensorSpec, axis: BatchAxis | None, symbols: dict[str, int]
) -> bool:
    """Compare all sizes but that of the samples; a name must be the same size everywhere."""
    if len(expected.shape) != len(found.shape):
        return False
    for at, (want, have) in enumerate(zip(expected.shape, found.shape, strict=True)):
        if axis is not None and at == axis.axis:
            continue
        if isinstance(have, int) and isinstance(want, str):
            want = symbols.setdefault(want, have)  # noqa: PLW2901 - the symbol is its size
        if want is not None and want != have:
            return False
    return True


def _dtype_hint(field: BoundField, expected: TensorSpec, preprocess: Preprocess) -> str:
    if is_float(expected.dtype):
        if field.preprocessed or preprocess.is_identity:
            scale = "1/255" if field.spec.dtype == np.uint8 else "1"
            return f"convert and scale with --scale {scale} (mean and std as in training)"
        return f"store {field.stored!r} as {expected.dtype}"
    if field.preprocessed and preprocess.normalizes:
        return "leave scale, mean and std out: this input takes integers"
    return f"store {field.stored!r} as {expected.dtype}"


def _shape_hint(expected: TensorSpec, found: TensorSpec, preprocess: Preprocess) -> str | None:
    want, have = expected.shape[1:], found.shape[1:]
    if len(have) == len(want) - 1:
        if len(want) == 3 and want[0] == 1:
            return "give the images a channel axis, as in images[:, None]"
        return "the first dimension counts samples: stack them into batches"
    if len(want) != 3 or len(have) != 3:
        return None
    permutations = {"nhwc-to-nchw": (have[2], *have[:2]), "nchw-to-nhwc": (*have[1:], have[0])}
    for layout, permuted in permutations.items():
        if _fits(want, permuted):
            undo = preprocess.layout not in ("keep", layout)
            return "leave layout out" if undo else f"lay the images out with --layout {layout}"
    if want[0] == have[0]:
        return "images of a folder are resized with --image-size HxW; resize stored ones beforehand"
    return None


def conversion_hint(expected: TensorSpec, found: TensorSpec) -> str | None:
    """The flags that make of stored samples what a model takes, as a sentence; None without any."""
    field = BoundField(found.name, found, True)
    hints: list[str | None] = []
    if not is_convertible(found.dtype, expected.dtype):
        hints.append(_dtype_hint(field, expected, Preprocess()))
    if not _shape_fits(expected, found, BatchAxis(0), {}):
        hints.append(_shape_hint(expected, found, Preprocess()))
    said = ", and ".join(hint for hint in hints if hint)
    return f"{said[0].upper()}{said[1:]}." if said else None


def _fits(want: Sequence[object], have: Sequence[object]) -> bool:
    return all(not isinstance(w, int) or w == h for w, h in zip(want, have, strict=True))
