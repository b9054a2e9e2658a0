"""Which of a model's outputs is looked at, and how two models' outputs are paired."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from compressor.errors import UsageError
from compressor.graph.tensors import Array, Dimension, TensorSpec

PREFERRED = ("logits", "output")
"""Names that make an output the primary one, in this order."""
_LEAST_RANKS = (1, 3, 4)
"""The least rank of an array whose samples may lie along each axis."""


def primary_spec(outputs: Sequence[TensorSpec]) -> TensorSpec | None:
    """The description of the primary output, None where no output is floating."""
    floating = {spec.name: spec for spec in outputs if is_floating(spec.dtype)}
    name = _primary(list(floating))
    return None if name is None else floating[name]


def primary_output(outputs: Mapping[str, Array], samples: int, metric: str) -> tuple[str, Array]:
    """The primary output among those with one row per sample.

    Raises:
        UsageError: No output is floating and has a row per sample.
    """
    candidates = _per_sample(outputs, samples)
    name = _primary(list(candidates))
    if name is None:
        raise UsageError(
            f"metric {metric}: expected a floating output with one row for each of the {samples} "
            f"samples, found {describe(outputs)}",
            hint="Write --metric file.py:function to score outputs of another form.",
        )
    return name, candidates[name]


def shown_output(outputs: Mapping[str, Array], samples: int, metric: str) -> Array:
    """The primary output, or the first with a row per sample where none is floating.

    Raises:
        UsageError: None has a row per sample.
    """
    if not any(is_floating(array.dtype) for array in outputs.values()):
        for array in outputs.values():
            if array.ndim and len(array) == samples:
                return array
    return primary_output(outputs, samples, metric)[1]


def paired_outputs(
    original: Mapping[str, Array], other: Mapping[str, Array], samples: int, metric: str
) -> Iterator[tuple[Array, Array]]:
    """Floating outputs of the original beside the other model's, both (samples, values).

    They are paired by name, or by position where the two models name them differently. Outputs
    without a row per sample are left out: they belong to no sample. Where lengths depend on data
    and differ, what one has and the other lacks counts as zeros.

    Raises:
        UsageError: The outputs do not correspond, or none has a row per sample.
    """
    first, second = _per_sample(original, samples), _per_sample(other, samples)
    if not first:
        primary_output(original, samples, metric)
    names = list(first) if first.keys() == second.keys() else list(second)
    if len(first) != len(second) or any(
        first[a].ndim != second[b].ndim for a, b in zip(first, names, strict=True)
    ):
        raise UsageError(
            f"metric {metric}: the outputs of the two models do not correspond: "
            f"{describe(original)} against {describe(other)}"
        )
    for left, name in zip(first.values(), names, strict=True):
        one, two = evened(left, second[name])
        yield one.reshape(samples, -1), two.reshape(samples, -1)


def evened(one: Array, other: Array) -> tuple[Array, Array]:
    """Both arrays at the larger of their sizes along every axis, filled up with zeros."""
    if one.shape == other.shape:
        return one, other
    shape = [max(sizes) for sizes in zip(one.shape, other.shape, strict=True)]
    first, second = (
        np.pad(array, [(0, size - own) for size, own in zip(shape, array.shape, strict=True)])
        for array in (one, other)
    )
    return first, second


def require_alike(models: Sequence[Sequence[TensorSpec]], metric: str) -> None:
    """Refuse models whose outputs are declared with other sizes, so that none is the other's.

    Args:
        models: The outputs of each, which are paired as by `paired_outputs`.
        metric: The metric that asks.

    Raises:
        UsageError: Their number, a rank or a fixed size differs.
    """
    first, *others = models
    by_name = {spec.name: spec for spec in first}
    for specs in others:
        if len(specs) == len(first):
            same = by_name.keys() == {spec.name for spec in specs}
            own = [by_name[spec.name] for spec in specs] if same else first
            if all(_may_be(a.shape, b.shape) for a, b in zip(own, specs, strict=True)):
                continue
        left, right = (", ".join(map(str, of_one)) for of_one in (first, specs))
        raise UsageError(
            f"metric {metric}: the outputs of the two models do not correspond: {left} against "
            f"{right}",
            hint="--output-metric NAME compares one of several outputs.",
        )


def _may_be(one: tuple[Dimension, ...], other: tuple[Dimension, ...]) -> bool:
    pairs = zip(one[1:], other[1:], strict=False)  # a batch may be baked into one of them
    fixed = all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
    return not one or not other or (fixed and len(one) == len(other))


def describe(outputs: Mapping[str, Array]) -> str:
    """Outputs for a message: `logits:float32[8,10], hidden:float32[8,4,32]`."""
    return ", ".join(
        str(TensorSpec(name, array.dtype, array.shape)) for name, array in outputs.items()
    )


def is_floating(dtype: np.dtype[np.generic]) -> bool:
    """Whether a type is floating-point, ml_dtypes' bfloat16 and float8 included."""
    return dtype.kind == "f" or "float" in dtype.name


def _primary(names: Sequence[str]) -> str | None:
    for name in PREFERRED:
        if name in names:
            return name
    return names[0] if names else None


def _per_sample(outputs: Mapping[str, Array], samples: int) -> dict[str, Array]:
    """Floating outputs with a row per sample, on their first axis.

    Where none has its samples there, those of recurrent operators, moved: states are (directions,
    samples, hidden), sequences (steps, directions, samples, hidden). All that a single sample gives
    is that sample's.
    """
    if samples == 1:
        return {
            name: array if array.ndim and len(array) == 1 else array[np.newaxis]
            for name, array in outputs.items()
            if is_floating(array.dtype)
        }
    axes = {
        name: axis
        for name, array in outputs.items()
        if is_floating(array.dtype) and (axis := sample_axis(array, samples)) is not None
    }
    wanted = {name: axis for name, axis in axes.items() if axis == 0} or axes
    return {name: np.moveaxis(outputs[name], axis, 0) for name, axis in wanted.items()}


def sample_axis(array: Array, samples: int) -> int | None:
    """The axis that samples run along: the first, or the second or third of recurrent outputs."""
    for axis, least in enumerate(_LEAST_RANKS):
        if array.ndim >= least and array.shape[axis] == samples:
            return axis
    return None
