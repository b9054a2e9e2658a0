"""Which inputs a source is captured with: of samples, of its own, or as declared by `--input`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches

import numpy as np

from calibration.fit import conversion_hint
from calibration.sources.base import positional_names
from calibration.values import is_convertible
from compressor.capture.inputs import BATCH, Inputs, named, sized
from compressor.errors import CaptureError
from compressor.graph.batch import BatchAxis
from compressor.graph.sizes import solve
from compressor.graph.tensors import Array, Dimension, TensorSpec


def choose_inputs(
    declared: Sequence[TensorSpec],
    examples: Mapping[str, Array] | None,
    axes: Mapping[str, BatchAxis | None] | None = None,
) -> Inputs | None:
    """Inputs from calibration samples where there are any, else as declared by `--input`.

    With samples, the leading dimension that all of them share is the batch, and dynamic; other
    dimensions are dynamic where a declared name says so, and a declared size for the batch bakes
    it in. One declared input belongs to one array by position, several by name.

    Returns:
        None when nothing is known.

    Raises:
        CaptureError: What is declared contradicts the samples.
        DataError: Sizes of equal names differ.
    """
    if not examples:
        return _from_declared(tuple(declared)) if declared else None
    arrays = {name: np.asarray(array) for name, array in examples.items()}
    matched = _matched(declared, arrays)
    lengths = [array.shape[0] for array in arrays.values() if array.ndim]
    leading = next(_counting(matched, axes or {}), None) or BATCH
    specs = []
    for name, array in arrays.items():
        shared = array.ndim > 0 and array.shape[0] == lengths[0]
        lies = (BatchAxis(0) if shared else None) if axes is None else axes.get(name)
        spec = TensorSpec(name, array.dtype, _open(array.shape, lies, leading))
        specs.append(_refined(spec, matched[name]) if name in matched else spec)
    return sized(tuple(specs), arrays)


def _counting(
    declared: Mapping[str, TensorSpec], axes: Mapping[str, BatchAxis | None]
) -> Iterator[Dimension]:
    """What is declared for the size that counts samples."""
    for name, spec in declared.items():
        lies = axes.get(name, BatchAxis(0))
        if lies is not None and lies.multiple == 1 and lies.axis < len(spec.shape):
            yield spec.shape[lies.axis]


def _open(
    shape: tuple[int, ...], lies: BatchAxis | None, symbol: Dimension
) -> tuple[Dimension, ...]:
    """The shape with the size that counts samples open, or as it is declared."""
    if lies is None:
        return shape
    multiple = f"{lies.multiple}*{symbol}" if isinstance(symbol, str) else symbol
    counted = symbol if lies.multiple == 1 else multiple
    return (*shape[: lies.axis], counted, *shape[lies.axis + 1 :])


def _matched(declared: Sequence[TensorSpec], arrays: Mapping[str, Array]) -> dict[str, TensorSpec]:
    if len(declared) == len(arrays) == 1:
        return {next(iter(arrays)): declared[0]}
    unknown = [spec.name for spec in declared if spec.name not in arrays]
    if unknown:
        raise CaptureError(
            f"--input declares {', '.join(unknown)}; the calibration data has {', '.join(arrays)}"
        )
    return {spec.name: spec for spec in declared}


def _refined(found: TensorSpec, declared: TensorSpec) -> TensorSpec:
    """The shape of the samples with what was declared about it."""
    contradiction = CaptureError(
        f"input {found.name}: --input declares {declared}, the calibration data has {found}",
        hint="Correct --input, or preprocess the data to what the model takes.",
    )
    if len(declared.shape) != len(found.shape) or declared.dtype != found.dtype:
        raise contradiction
    for ours, theirs in zip(found.shape[1:], declared.shape[1:], strict=True):
        if isinstance(theirs, int) and ours != theirs:
            raise contradiction
    declared = named(replace(declared, name=found.name))
    return replace(found, shape=(*found.shape[:1], *declared.shape[1:]))


def _from_declared(declared: tuple[TensorSpec, ...]) -> Inputs:
    names = [spec.name for spec in declared]
    if len(set(names)) < len(names):
        raise CaptureError(f"--input declares a name twice: {', '.join(names)}")
    return sized(tuple(named(spec) for spec in declared), {})


def check_declared(
    own: Sequence[TensorSpec], declared: Sequence[TensorSpec], what: str
) -> tuple[TensorSpec, ...]:
    """What `--input` declares of the inputs that a source has of its own.

    Args:
        own: The source's inputs.
        declared: The inputs that `--input` declares.
        what: The source, for messages.

    Raises:
        CaptureError: It contradicts them, or names another.
    """
    takes = {spec.name: spec for spec in own}
    for spec in declared:
        contradicts = f"--input declares {spec}; {what} takes {', '.join(map(str, own))}"
        if spec.name not in takes:
            raise CaptureError(contradicts, hint=_meant(spec.name, list(takes)))
        if not _agree(takes[spec.name], spec):
            raise CaptureError(
                contradicts,
                hint="Leave --input out, or correct it: this model has inputs of its own.",
            )
    return tuple(declared)


def _meant(name: str, known: Sequence[str]) -> str:
    """What to do about a name that no input has."""
    close = known if len(known) == 1 else get_close_matches(name, known, n=1, cutoff=0.5)
    asked = f"Did you mean {close[0]}? " if close else ""
    return f"{asked}It has no input {name!r}: correct --input, or leave it out."


def declared_relations(
    own: Sequence[TensorSpec], declared: Sequence[TensorSpec]
) -> Iterator[TensorSpec]:
    """A source's inputs with the names and expressions that `--input` has for open sizes.

    A size that is declared stays open in the source: see `asked`.
    """
    given = {spec.name: spec for spec in declared}
    names = dict[str, str]()
    for spec in own:
        for ours, theirs in zip(spec.shape, given.get(spec.name, spec).shape, strict=True):
            if isinstance(ours, str) and isinstance(theirs, str):
                names.setdefault(ours, theirs)
    for spec in own:  # two sizes of one name may be of two, where the source has none for them
        pairs = zip(spec.shape, given.get(spec.name, spec).shape, strict=True)
        yield replace(
            spec,
            shape=tuple(
                ours if not isinstance(ours, str)
                else theirs if isinstance(theirs, str) and spec.name in given
                else names.get(ours, ours)
                for ours, theirs in pairs
            ),
        )  # fmt: skip


def asked(inputs: Inputs, declared: Sequence[TensorSpec]) -> Inputs:
    """The inputs with the sizes that `--input` gives, for a source with inputs of its own.

    Raises:
        DataError: They contradict each other.
    """
    given = {spec.name: spec for spec in declared}
    specs = [spec for spec in inputs.specs if spec.name in given]
    equations = [
        replace(s, shape=tuple(
            ours if isinstance(theirs, int) else None
            for ours, theirs in zip(s.shape, given[s.name].shape, strict=True)
        ))
        for s in specs
    ]  # fmt: skip
    numbers = {
        s.name: np.broadcast_to(
            np.int8(0), [d if isinstance(d, int) else 0 for d in given[s.name].shape]
        )
        for s in specs
    }
    sizes = solve(equations, numbers, "--input")
    return replace(inputs.resized(sizes), asked=frozenset(sizes))


def given_sizes(declared: Sequence[TensorSpec], inputs: Inputs) -> frozenset[tuple[str, int]]:
    """The inputs and axes whose sizes `--input` gives."""
    one = len(declared) == len(inputs.specs) == 1
    return frozenset(
        (inputs.specs[0].name if one else spec.name, axis)
        for spec in declared
        for axis, dim in enumerate(spec.shape)
        if isinstance(dim, int)
    )


def _agree(one: TensorSpec, other: TensorSpec) -> bool:
    if one.dtype != other.dtype or len(one.shape) != len(other.shape):
        return False
    sizes = zip(one.shape, other.shape, strict=True)
    return all(a == b for a, b in sizes if isinstance(a, int) and isinstance(b, int))


def bind_samples(
    own: Sequence[TensorSpec], examples: Mapping[str, Array], what: str
) -> dict[str, Array]:
    """Samples for the inputs that a source has of its own, as a calibration set binds to them.

    One binds by position, several by name, or by position if the arrays came without names; types
    of a kind convert, and arrays that no input asks for are left out.

    Args:
        own: The source's inputs.
        examples: Name → array, the leading dimension counting samples.
        what: The source, to begin messages with.

    Returns:
        The source's name → array of its type.

    Raises:
        CaptureError: Names, types or shapes do not fit.
    """
    names = [spec.name for spec in own]
    found = list(examples)
    if tuple(found) == positional_names(len(found)) and len(found) in (len(own), len(own) + 1):
        found = found[: len(own)]  # one more is the labels
    if not set(names) <= set(found) and (len(found) == len(own) == 1 or _came_nameless(examples)):
        arrays = dict(zip(names, (examples[name] for name in found), strict=False))
    else:
        arrays = {name: examples[name] for name in names if name in examples}
    if len(arrays) < len(own):
        raise CaptureError(
            f"{what} takes {', '.join(map(str, own))}; the calibration data has "
            f"{', '.join(examples)}",
            hint="Several inputs bind by name: name the arrays as the model's inputs.",
        )
    return {spec.name: _fitted(spec, arrays[spec.name], what) for spec in own}


def _came_nameless(examples: Mapping[str, Array]) -> bool:
    return tuple(examples) == positional_names(len(examples))


def _fitted(spec: TensorSpec, array: Array, what: str) -> Array:
    # The number of samples is not a size: whatever batch the source has is cut from them.
    sizes = zip(spec.shape[1:], array.shape[1:], strict=False)
    fits = all(not isinstance(ours, int) or ours == theirs for ours, theirs in sizes)
    convertible = is_convertible(array.dtype, spec.dtype)
    if array.ndim != len(spec.shape) or not convertible or not fits:
        found = TensorSpec(spec.name, array.dtype, array.shape)
        raise CaptureError(
            f"{what} takes {spec}; the calibration data has {found}",
            hint=conversion_hint(spec, found) or "Preprocess the data to what the model takes.",
        )
    return array.astype(spec.dtype, copy=False)
