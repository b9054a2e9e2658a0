"""Feeding samples to a runner: names that differ, and batch sizes that are baked in."""

from typing import Protocol

import numpy as np

from compressor.errors import DataError
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import Runner


class HasInputs(Protocol):
    """The part of a runner that says what to feed."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The tensors to feed."""


def feeds_for(runner: HasInputs, arrays: Arrays) -> dict[str, Array]:
    """The arrays under the names of the runner's inputs.

    A single input takes a single array whatever its name; several are found by name.

    Raises:
        DataError: An input finds no array.
    """
    wanted = [spec.name for spec in runner.inputs]
    if len(wanted) == 1 and len(arrays) == 1:
        return {wanted[0]: next(iter(arrays.values()))}
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise DataError(
            f"the data has no array for the model's input {missing[0]!r}; "
            f"it has {', '.join(sorted(arrays)) or 'none'}",
            hint="Name the arrays as the model's inputs.",
        )
    return {name: arrays[name] for name in wanted}


def predict(runner: Runner, inputs: Arrays, samples: int) -> dict[str, Array]:
    """The outputs for `samples` samples, also from a model whose batch size is baked in.

    Such a model sees pieces of its own size; the last one is filled up by repeating its last
    sample, and what comes out for the repetitions is dropped.
    """
    feeds = feeds_for(runner, inputs)
    size = _baked_batch(runner)
    if size is None or size == samples:
        return runner.run(feeds)
    pieces = [
        runner.run({name: _piece(array, start, size) for name, array in feeds.items()})
        for start in range(0, samples, size)
    ]
    return {
        name: np.concatenate([piece[name] for piece in pieces])[:samples]
        if array.ndim and len(array) == size
        else array
        for name, array in pieces[-1].items()
    }


def _baked_batch(runner: HasInputs) -> int | None:
    sizes = {spec.fixed_batch for spec in runner.inputs if spec.shape}
    size = sizes.pop() if len(sizes) == 1 else None
    return size if size else None


def _piece(array: Array, start: int, size: int) -> Array:
    piece = array[start : start + size]
    if len(piece) == size:
        return piece
    return np.concatenate([piece, np.repeat(piece[-1:], size - len(piece), axis=0)])
