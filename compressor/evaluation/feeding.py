"""Feeding samples to a runner: names that differ, and batch sizes that are baked in."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from compressor.errors import DataError
from compressor.graph.batch import BatchAxis, fixed_batch, rows_of
from compressor.graph.tensors import Array, Arrays, TensorSpec
from exporters.base import Runner

_LEAST_RANKS = (1, 3, 4)
"""The least rank of an output whose samples may lie along each axis."""


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


def predict(
    runner: Runner,
    inputs: Arrays,
    samples: int,
    axes: Mapping[str, BatchAxis | None] | None = None,
) -> dict[str, Array]:
    """The outputs for `samples` samples, also from a model whose batch size is baked in.

    Such a model sees pieces of its own size, each input cut along its own axis; the last one is
    filled up by repeating its samples, and what comes out for the repetitions is dropped.

    Args:
        runner: The model.
        inputs: Input name → array.
        samples: How many it holds.
        axes: Input name → where they lie; along the first axis where it is not said.
    """
    pieces = [runner.run(feeds) for feeds in calls_of(runner, inputs, samples, axes)]
    size = fixed_batch(runner.inputs)
    if size is None or size == samples or not samples:
        return pieces[0]
    return {name: _whole([piece[name] for piece in pieces], size, samples) for name in pieces[0]}


def calls_of(
    runner: HasInputs,
    inputs: Arrays,
    samples: int,
    axes: Mapping[str, BatchAxis | None] | None = None,
) -> Iterator[dict[str, Array]]:
    """What `predict` feeds a model, one call after the other; arguments as there."""
    feeds = feeds_for(runner, inputs)
    size = fixed_batch(runner.inputs)
    if size is None or size == samples or not samples:
        yield feeds
        return
    lies = _axes_for(feeds, inputs, axes or {})
    index = np.arange(-(-samples // size) * size)
    index[samples:] %= samples
    for rows in index.reshape(-1, size):
        yield rows_of(feeds, lies, rows, samples)


def _axes_for(
    feeds: Arrays, inputs: Arrays, axes: Mapping[str, BatchAxis | None]
) -> dict[str, BatchAxis | None]:
    """Where samples lie, under the names of the runner's inputs."""
    if len(feeds) == len(inputs) == 1:
        return dict.fromkeys(feeds, next(iter(axes.values()), BatchAxis(0)))
    return {name: axes.get(name, BatchAxis(0)) for name in feeds}


def _whole(pieces: Sequence[Array], size: int, samples: int) -> Array:
    """Pieces of `size` samples as one array of all; what has no axis of samples as it came last."""
    axis = sample_axis(pieces[0].shape, size)
    if axis is None:
        return pieces[-1]
    joined = np.concatenate(pieces, axis)
    return np.take(joined, np.arange(samples), axis)


def sample_axis(shape: Sequence[int], samples: int) -> int | None:
    """Where the samples of an output lie, by its shape; None where no axis has so many.

    The first, or where recurrent operators have them: states are (directions, samples, hidden),
    sequences (steps, directions, samples, hidden).
    """
    for axis, least in enumerate(_LEAST_RANKS):
        if len(shape) >= least and shape[axis] == samples:
            return axis
    return None
