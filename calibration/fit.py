"""Whether stored arrays fit what the model takes, and what helps where they do not."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from calibration.axes import likely_axes
from calibration.fields import BoundField, sizes_of
from calibration.preprocess import Preprocess
from calibration.sources.base import check_even
from calibration.values import is_convertible, is_float
from compressor.errors import DataError
from compressor.graph.batch import BATCH, BatchAxis, batch_axes
from compressor.graph.tensors import TensorSpec


def check(
    fields: Sequence[BoundField],
    inputs: Sequence[TensorSpec],
    preprocess: Preprocess,
    where: str,
    *,
    fits: bool,
) -> None:
    """Refuse arrays of other types or shapes, all that is wrong at once and with what helps.

    Raises:
        DataError: Says what was expected of each, and what was found.
    """
    found = described([field.spec for field in fields])
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
            {n: sizes_of(s)[a.axis] // a.multiple for n, (s, a) in counted.items() if a}, where
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
        return "leave --scale, --mean and --std out: this input takes integers"
    return f"store {field.stored!r} as {expected.dtype}"


def _shape_hint(expected: TensorSpec, found: TensorSpec, preprocess: Preprocess) -> str | None:
    want, have = expected.shape[1:], found.shape[1:]
    if len(have) == 1 < len(want) and _elements(have) == _elements(want) is not None:
        return f"reshape the samples to {[*want]}"
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
            return "leave --layout out" if undo else f"lay the images out with --layout {layout}"
    if want[0] == have[0]:
        return "images of a folder are resized with --image-size HxW; resize stored ones beforehand"
    return None


def _elements(shape: Sequence[object]) -> int | None:
    """How many values a sample has; None where a size is open."""
    sizes = [size for size in shape if isinstance(size, int)]
    return math.prod(sizes) if len(sizes) == len(shape) else None


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


def described(arrays: Sequence[TensorSpec]) -> list[TensorSpec]:
    """Stored arrays for messages, with a name where they seem to count samples."""
    axes = likely_axes({spec.name: sizes_of(spec) for spec in arrays})
    described = []
    for spec in arrays:
        shape, at = list(spec.shape), axes[spec.name].stored
        if at is not None:
            shape[at] = BATCH
        described.append(replace(spec, shape=tuple(shape)))
    return described
