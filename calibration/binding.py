"""Which stored array feeds which input of the model, and which one holds the labels."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.preprocess import (
    Preprocess,
    apply_preprocess,
    check_size,
    fields_to_preprocess,
)
from calibration.sources.base import positional_names
from calibration.values import is_convertible, is_float
from compressor.errors import DataError
from compressor.graph.tensors import TensorSpec

LABEL_NAMES = ("label", "labels", "y", "target", "targets")
"""Names, in any case, of the array that is taken for the labels unless an input has that name."""


@dataclass(frozen=True)
class BoundField:
    """An input: the stored array behind it, and what the model sees of it."""

    stored: str
    spec: TensorSpec
    preprocessed: bool


@dataclass(frozen=True)
class Binding:
    """The inputs in the model's order, and the stored arrays of labels and of texts."""

    inputs: tuple[BoundField, ...]
    label: str | None
    text: str | None = None


def unbound(stored: Sequence[TensorSpec], preprocess: Preprocess, where: str) -> Binding:
    """The inputs that the data has by itself; float64 becomes float32.

    A single array without a name is called `input`. Of several arrays without names, a last one
    that holds one integer per sample is the labels.
    """
    arrays, label = _without_label(stored, wanted=None, where=where)
    fields = _preprocessed(arrays, preprocess, where)
    if len(fields) == 1 and _is_positional(stored):
        (name,), spec = positional_names(1), fields[0].spec
        named = TensorSpec(name, spec.dtype, spec.shape)
        fields = [BoundField(fields[0].stored, named, fields[0].preprocessed)]
    return Binding(tuple(fields), label, _text(stored))


def bound(
    stored: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    where: str,
) -> Binding:
    """Match the data to a model's inputs: several by name, a single one by position.

    Arrays without names match several inputs by position, and one more than there are inputs is
    the labels. Arrays that no input asks for are left out.

    Raises:
        DataError: Names, types or shapes do not fit; all that is wrong is said at once.
    """
    arrays, label = _without_label(stored, wanted=[spec.name for spec in inputs], where=where)
    chosen = _matched(arrays, inputs, where)
    fields = _preprocessed(chosen, preprocess, where)
    _check(fields, inputs, preprocess, where)
    return Binding(
        tuple(
            BoundField(
                field.stored,
                TensorSpec(wanted.name, wanted.dtype, field.spec.shape),
                field.preprocessed,
            )
            for field, wanted in zip(fields, inputs, strict=True)
        ),
        label,
        _text(stored),
    )


def is_class_label(spec: TensorSpec) -> bool:
    """Whether an array holds one integer per sample."""
    return spec.dtype.kind in "iu" and spec.shape[1:] in ((), (1,))


def _is_positional(arrays: Sequence[TensorSpec]) -> bool:
    return tuple(spec.name for spec in arrays) == positional_names(len(arrays))


def _text(stored: Sequence[TensorSpec]) -> str | None:
    """The array that says what a sample is: sources let strings pass only there."""
    return next((spec.name for spec in stored if spec.dtype.kind == "U"), None)


def _without_label(
    stored: Sequence[TensorSpec], wanted: Sequence[str] | None, where: str
) -> tuple[list[TensorSpec], str | None]:
    arrays = [spec for spec in stored if spec.dtype.kind != "U"]
    if not arrays:
        raise DataError(f"{where}: expected arrays of numbers, found texts alone")
    if len(arrays) == 1:
        return arrays, None
    if _is_positional(arrays):
        last = arrays[-1]
        if is_class_label(last) if wanted is None else len(arrays) == len(wanted) + 1:
            return arrays[:-1], last.name
        return arrays, None
    labels = [
        spec.name
        for spec in arrays
        if spec.name.casefold() in LABEL_NAMES and spec.name not in (wanted or ())
    ]
    if len(labels) > 1:
        raise DataError(
            f"{where}: expected one array of labels, found {' and '.join(labels)}",
            hint="keep one of them, or give the others names that are no labels",
        )
    if not labels:
        return arrays, None
    return [spec for spec in arrays if spec.name != labels[0]], labels[0]


def _preprocessed(
    arrays: Sequence[TensorSpec], preprocess: Preprocess, where: str
) -> list[BoundField]:
    """What the model sees of each array, found by preprocessing no samples of it."""
    chosen = fields_to_preprocess(arrays, preprocess, where)
    fields = []
    for spec in arrays:
        what = f"{where}, {spec.name!r}"
        check_size(spec, preprocess, what)
        sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
        none = np.empty((0, *sizes), spec.dtype)
        if spec.name in chosen:
            none = apply_preprocess(none, preprocess, what)
        dtype = np.dtype(np.float32) if none.dtype == np.float64 else none.dtype
        seen = TensorSpec(spec.name, dtype, ("batch", *none.shape[1:]))
        fields.append(BoundField(spec.name, seen, spec.name in chosen))
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
        f"found {', '.join(map(str, arrays))}: {', '.join(missing)} missing",
        hint=f"rename {' and '.join(renames)}" if renames else "name the arrays as the inputs",
    )


def _check(
    fields: Sequence[BoundField],
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    where: str,
) -> None:
    wrong: list[tuple[TensorSpec, TensorSpec]] = []
    hints: list[str | None] = []
    symbols: dict[str, int] = {}
    for field, expected in zip(fields, inputs, strict=True):
        found = field.spec
        if not is_convertible(found.dtype, expected.dtype):
            wrong.append((expected, found))
            hints.append(_dtype_hint(field, expected, preprocess))
        if not _shape_fits(expected, found, symbols):
            wrong.append((expected, found))
            hints.append(_shape_hint(expected, found, preprocess))
    if wrong:
        said = "; ".join(f"expected {e}, found {f}" for e, f in dict.fromkeys(wrong))
        hint = ", and ".join(dict.fromkeys(hint for hint in hints if hint))
        raise DataError(f"{where}: {said}", hint=hint or None)


def _shape_fits(expected: TensorSpec, found: TensorSpec, symbols: dict[str, int]) -> bool:
    """Compare all but the first dimension; a symbolic size must be the same everywhere."""
    if len(expected.shape) != len(found.shape):
        return False
    for want, have in zip(expected.shape[1:], found.shape[1:], strict=True):
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
    if not _shape_fits(expected, found, {}):
        hints.append(_shape_hint(expected, found, Preprocess()))
    said = ", and ".join(hint for hint in hints if hint)
    return f"{said[0].upper()}{said[1:]}." if said else None


def _fits(want: Sequence[object], have: Sequence[object]) -> bool:
    return all(not isinstance(w, int) or w == h for w, h in zip(want, have, strict=True))
