"""Where the samples of a batch lie in the inputs of a graph, as far as their shapes tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.graph.sizes import parse_size
from compressor.graph.tensors import Array, Dimension, TensorSpec

BATCH = "batch"
"""What the size that counts samples is called where it has no name of its own."""

_NAMES = frozenset({"n", "b", "bs", "nb"})
"""Names, in any case, that are given to the size of a batch, beside all that hold `batch`."""

Rows = npt.NDArray[np.intp] | slice


@dataclass(frozen=True)
class BatchAxis:
    """The axis of an input along which its samples lie, and how many entries each sample has."""

    axis: int
    multiple: int = 1


def batch_symbol(specs: Sequence[TensorSpec]) -> str | None:
    """The name of the size that counts samples; None where no input leaves it open.

    One that is called so, else the leading one that most inputs share; of equals that of the
    input with the most axes. Leading sizes without a name are one and the same, called `batch`.
    """
    open_sizes = [
        (symbol, axis, len(spec.shape))
        for spec in specs
        for axis, dim in enumerate(spec.shape)
        for symbol in _symbols(dim, axis)
    ]
    for symbol, _, _ in open_sizes:
        if _is_batch_name(symbol):
            return symbol
    leading: dict[str, int] = {}
    for symbol, axis, rank in open_sizes:
        if axis == 0:
            leading[symbol] = max(rank, leading.get(symbol, 0))
    shared = {s: sum(s in map(str, spec.shape) for spec in specs) for s in leading}
    return max(leading, key=lambda s: (shared[s], leading[s]), default=None)


def batch_axes(specs: Sequence[TensorSpec]) -> dict[str, BatchAxis | None]:
    """Input name → where its samples lie; None for inputs that belong to no sample."""
    symbol, fixed = batch_symbol(specs), fixed_batch(specs)
    return {spec.name: batch_axis(spec, symbol, fixed) for spec in specs}


def batch_axis(spec: TensorSpec, symbol: str | None, fixed: int | None) -> BatchAxis | None:
    """Where the samples of an input lie, given the size that counts them."""
    for axis, dim in enumerate(spec.shape):
        multiple = _multiple(_symbol(dim, axis), symbol) if symbol is not None else None
        if multiple is not None:
            return BatchAxis(axis, multiple)
    at = _axis_of(spec, fixed) if symbol is None and fixed is not None else None
    return None if at is None else BatchAxis(at)


def fixed_batch(specs: Sequence[TensorSpec]) -> int | None:
    """The number of samples that a graph has baked in; None where it leaves it open or has none.

    It leads one input, that with the most axes if there are several such sizes, and every input of
    several axes has it where samples lie.
    """
    ranked = sorted((s for s in specs if s.shape), key=lambda spec: len(spec.shape), reverse=True)
    if batch_symbol(specs) is not None:
        return None
    several = [spec for spec in ranked if len(spec.shape) > 1]
    for size in (spec.shape[0] for spec in ranked):
        if (
            isinstance(size, int)
            and size
            and all(_axis_of(spec, size) is not None for spec in several)
        ):
            return size
    return None


def _axis_of(spec: TensorSpec, samples: int) -> int | None:
    """The first axis, or the second behind the layers of a state, if it has that size."""
    for axis, least in enumerate((1, 3)):
        if len(spec.shape) >= least and spec.shape[axis] == samples:
            return axis
    return None


def rows_of(
    arrays: Mapping[str, Array], axes: Mapping[str, BatchAxis | None], rows: Rows, samples: int
) -> dict[str, Array]:
    """Some of the samples of a batch, each array cut along its own axis; others stay whole.

    Args:
        arrays: Name → array.
        axes: Name → where the samples lie.
        rows: Which samples, in any order and as often as wanted.
        samples: How many the arrays hold.
    """
    index = np.arange(samples)[rows]
    cut = {}
    for name, array in arrays.items():
        lies = axes.get(name)
        if lies is None:
            cut[name] = array
        else:
            entries = (index[:, None] * lies.multiple + np.arange(lies.multiple)).reshape(-1)
            cut[name] = np.ascontiguousarray(np.take(array, entries, axis=lies.axis))
    return cut


def _symbol(dim: Dimension, axis: int) -> str | None:
    if isinstance(dim, int):
        return None
    return dim if dim is not None else BATCH if axis == 0 else None


def _symbols(dim: Dimension, axis: int) -> tuple[str, ...]:
    """The name of an open size, or of what it is a multiple of."""
    symbol = _symbol(dim, axis)
    if symbol is None:
        return ()
    names = parse_size(symbol).names
    return names if len(names) == 1 else (symbol,)


def _is_batch_name(symbol: str) -> bool:
    return symbol.isidentifier() and ("batch" in symbol.casefold() or symbol.casefold() in _NAMES)


def _multiple(dim: str | None, symbol: str) -> int | None:
    """The factor k where a size is `symbol`, `k*symbol` or `symbol*k`."""
    if dim is None or dim == symbol:
        return None if dim is None else 1
    terms = dict(parse_size(dim).terms)
    return terms.get((symbol,)) if len(terms) == 1 else None
