"""What a source of samples is, and how whatever users hand over becomes named arrays."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import ml_dtypes  # noqa: F401 - registers bfloat16, so that numpy can name and convert it
import numpy as np

from compressor.errors import DataError
from compressor.graph.tensors import Array, TensorSpec

CHUNK_BYTES = 2**20
"""Stored bytes that a source reads at a time; larger pieces are no faster to inflate."""

TEXT = "text"
"""The field that may hold strings: no input of any model, but what reports show of a sample."""

TEXT_TYPE = np.dtype("<U200")
"""Longer texts are cut; one width for all keeps the parts of a data set alike."""

Fields = dict[str, Array]
"""Named arrays that belong together, as they are stored."""

Axes = Mapping[str, int | None]
"""Name of a wanted array → the axis along which its samples lie; None for one value for all."""


class SampleSource(Protocol):
    """A finite, re-iterable stream of stored samples, labels among the fields.

    Attributes:
        description: The path, or what it is.
        specs: Name, stored dtype and shape of every field: of all samples, or of the first call.
        calls: Whether it comes in calls of the user's, each with shapes of its own.
        endless: Whether it may go on for ever, for all that can be known.
        labels: The array of labels where it is known without reading samples, which may be dear;
            else None.
    """

    description: str
    specs: tuple[TensorSpec, ...]
    calls: bool
    endless: bool
    labels: Array | None

    def count(self, axes: Axes) -> int | None:
        """The length along the samples' axes, or None when only a pass can tell."""
        ...

    def chunks(self, axes: Axes | None = None) -> Iterator[Fields]:
        """Yield the wanted arrays in order, cut along their axes where they are not calls.

        Without `axes` all of them, along the first.
        """
        ...

    def survey(self) -> Iterator[Mapping[str, tuple[int, ...]]]:
        """The shapes of the fields, of each call or of all samples together."""
        ...


def positional_names(count: int) -> tuple[str, ...]:
    """The names of arrays that came without: `input`, or `input_0`, `input_1` and so on."""
    return ("input",) if count == 1 else tuple(f"input_{index}" for index in range(count))


def specs_of(fields: Fields) -> tuple[TensorSpec, ...]:
    """Describe the fields of one chunk."""
    return tuple(TensorSpec(name, array.dtype, array.shape) for name, array in fields.items())


def samples_of(fields: Fields) -> int:
    """How many samples a call seems to have: the length of its first array with a dimension."""
    return next((len(array) for array in fields.values() if array.ndim), 1)


def shapes_of(specs: Sequence[TensorSpec]) -> dict[str, tuple[int, ...]]:
    """Name → shape, of what has numbers for sizes."""
    return {s.name: tuple(d for d in s.shape if isinstance(d, int)) for s in specs}


def first_axes(specs: Sequence[TensorSpec]) -> dict[str, int | None]:
    """All arrays, with samples along the first dimension where there is one."""
    return {spec.name: 0 if spec.shape else None for spec in specs}


def length_along(specs: Sequence[TensorSpec], axes: Axes) -> int:
    """How long arrays are along the axes of their samples; 1 where none has such an axis."""
    shapes = shapes_of(specs)
    lengths = (shapes[name][axis] for name, axis in axes.items() if axis is not None)
    return next(lengths, 1)


def rows_per_chunk(specs: Sequence[TensorSpec], axes: Axes | None = None) -> int:
    """How many samples of these fields make a chunk."""
    axes = first_axes(specs) if axes is None else axes
    row = sum(
        spec.dtype.itemsize
        * math.prod(d for at, d in enumerate(spec.shape) if isinstance(d, int) and at != axis)
        for spec in specs
        if (axis := axes.get(spec.name)) is not None
    )
    return max(1, CHUNK_BYTES // max(row, 1))


def sliced(array: Array, axis: int | None, start: int, rows: int) -> Array:
    """Some entries along an axis: a view; the whole array where it has no such axis."""
    if axis is None:
        return array
    return array[(*[slice(None)] * axis, slice(start, start + rows))]


def checked_dtype(dtype: np.dtype[Any], what: str, *, text: bool = False) -> np.dtype[Any]:
    """The native type that values of `dtype` are handled in.

    Args:
        dtype: The stored type.
        what: Names the data and the field, to begin messages with.
        text: Strings are welcome: the field is the one that shows people what a sample is.

    Raises:
        DataError: Objects, strings, complex numbers, records.
    """
    if text and dtype.kind == "U":
        return TEXT_TYPE
    if dtype.name == "bfloat16" or dtype.name.startswith("float8"):
        return np.dtype(np.float32)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return np.dtype(np.float64)
    if dtype.kind not in "fiub":
        hint = "store numbers; pickled objects are never read" if dtype.hasobject else None
        if dtype.kind in "US":
            hint = (
                "names of classes become numbers by np.searchsorted(names, label), names in the "
                "order of the model's outputs"
            )
        raise DataError(f"{what}: expected numbers, found dtype {dtype}", hint=hint)
    return dtype.newbyteorder("=")


def as_array(value: object, what: str, *, text: bool = False) -> Array:
    """A numpy array of numbers from an array, tensor, number or list.

    Tensors are recognised by their methods, so that torch need not be imported.

    Raises:
        DataError: It holds no numbers, or is a nested tuple of arrays.
    """
    if _is_nested(value):
        raise DataError(
            f"{what}: expected one array, found arrays in a nested {type(value).__name__}",
            hint="name each of the arrays, and give by --model a module whose forward takes them "
            "by those names and nests them",
        )
    try:
        array = np.asarray(_tensor_to_numpy(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{what}: {type(value).__name__} is no array: {error}") from error
    welcome = text and array.dtype.kind == "U"
    if array.dtype.kind in "OUS" and not (welcome or isinstance(value, np.ndarray)):
        raise DataError(
            f"{what}: expected an array or tensor, found {type(value).__name__}",
            hint="turn samples into arrays and stack them into batches",
        )
    return array.astype(checked_dtype(array.dtype, what, text=text), copy=False)


def _is_nested(value: object) -> bool:
    """Whether it is a tuple of tuples of arrays, as `((key, value), (key, value))`."""
    if not isinstance(value, tuple | list) or not value:
        return False
    inner = value[0]
    if not isinstance(inner, tuple | list) or not inner:
        return False
    return bool(getattr(inner[0], "shape", ())) or _is_nested(inner)


def as_fields(item: object, what: str) -> Fields:
    """Named arrays from a batch: a mapping, an array, or a tuple of them.

    A mapping keeps its names. Arrays without names are called by position, and a tuple
    (mapping, array) is taken for named inputs and their labels.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(item, Mapping):
        fields = {
            str(name): as_array(value, f"{what}, {name!r}", text=name == TEXT)
            for name, value in item.items()
        }
    elif isinstance(item, tuple | list) and item and isinstance(item[0], Mapping):
        fields = _named_with_labels(item, what)
    else:
        flat = _flatten(item)
        fields = {
            name: as_array(value, f"{what}, {name!r}")
            for name, value in zip(positional_names(len(flat)), flat, strict=True)
        }
    if not fields:
        raise DataError(f"{what}: expected arrays, found none")
    if not isinstance(item, Mapping) and all(array.ndim == 0 for array in fields.values()):
        raise DataError(
            f"{what}: expected samples along the first dimension, found a single number"
        )
    return fields


def check_even(sizes: Mapping[str, int], what: str) -> None:
    """Raise DataError unless every array has the same number of samples."""
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise DataError(
            f"{what}: arrays differ in their number of samples: {counts}",
            hint="the first dimension of every array counts samples; --input "
            f"'name:float32[2,batch,8]' says where another one does{_several(sizes)}",
        )


def _several(sizes: Mapping[str, int]) -> str:
    """How to say that one array has several rows a sample, where its number allows it."""
    least = min(sizes.values())
    for name, size in sizes.items():
        if least and size > least and size % least == 0:
            one = next(other for other, rows in sizes.items() if rows == least)
            return (
                f", and --input '{one}:float32[batch,…]' --input "
                f"'{name}:float32[{size // least}*batch,…]' that {name} has {size // least} rows a "
                "sample"
            )
    return ""


def check_same(expected: Sequence[TensorSpec], found: Sequence[TensorSpec], what: str) -> None:
    """Raise DataError unless a later part of the data has the fields of the first.

    Sizes may differ; names, types and the numbers of axes may not.
    """
    if {_form(spec) for spec in expected} == {_form(spec) for spec in found}:
        return
    hint = None
    if {spec.name for spec in expected} == {spec.name for spec in found}:
        hint = "keep one dtype and one number of dimensions per array"
    raise DataError(
        f"{what}: expected {', '.join(map(str, expected))} as in the first part, "
        f"found {', '.join(map(str, found))}",
        hint=hint,
    )


def _form(spec: TensorSpec) -> tuple[str, np.dtype[np.generic], int]:
    return spec.name, spec.dtype, len(spec.shape)


def _tensor_to_numpy(value: Any) -> Any:
    if not all(hasattr(value, method) for method in ("detach", "cpu", "numpy")):
        return value
    tensor = value.detach().cpu()
    if str(tensor.dtype).startswith(("torch.bfloat16", "torch.float8")):
        tensor = tensor.float()  # numpy has no such type
    return tensor.numpy()


def _named_with_labels(item: Sequence[object], what: str) -> Fields:
    first, *rest = (part for part in item if part is not None)
    fields = as_fields(first, what)
    if len(rest) > 1 or (rest and isinstance(rest[0], Mapping)):
        raise DataError(
            f"{what}: expected (inputs by name, labels), found a tuple of {len(rest) + 1}",
            hint="put every input into one dict, or pass a list of batches",
        )
    if rest:
        if "label" in fields:
            raise DataError(f"{what}: labels are both in the dict and beside it")
        fields["label"] = as_array(rest[0], f"{what}, labels")
    return fields


def _flatten(item: object) -> list[object]:
    """The arrays of a nest of tuples and lists, in order, without the Nones."""
    if item is None:
        return []
    if not isinstance(item, tuple | list):
        return [item]
    if item and all(isinstance(part, int | float | np.generic) for part in item):
        return [np.asarray(item)]  # labels are often a plain list
    return [leaf for part in item for leaf in _flatten(part)]
