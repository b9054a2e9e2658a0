"""Numbers for the inputs of a graph that stand for what it draws: each sample has its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from compressor.graph.batch import BatchAxis, batch_axes
from compressor.graph.draws import Draw
from compressor.graph.sizes import shape_at, solve
from compressor.graph.tensors import Array, Arrays, TensorSpec


@dataclass(frozen=True)
class NoiseInputs:
    """The random numbers of a model, as inputs beside those that data feeds.

    Attributes:
        fed: The inputs that data feeds, with a name for every open size.
        drawn: The others; names in their shapes are sizes of the inputs that are fed.
        draws: Name of each of those → which numbers it takes.
    """

    fed: tuple[TensorSpec, ...]
    drawn: tuple[TensorSpec, ...]
    draws: Mapping[str, Draw]

    @property
    def sample_axes(self) -> dict[str, BatchAxis | None]:
        """Where the samples of each drawn input lie; None where all of a call share it."""
        axes = batch_axes([*self.fed, *self.drawn])
        return {spec.name: axes[spec.name] for spec in self.drawn}

    def of(self, inputs: Arrays, index: npt.NDArray[np.int64], seed: int) -> dict[str, Array]:
        """Numbers for one call: those of a sample depend on its place in the data alone.

        What all samples of a call share depends on the first of them.

        Args:
            inputs: What the data feeds, whose sizes the others follow.
            index: Place of each sample in its source.
            seed: Seed of all draws.

        Raises:
            DataError: The arrays contradict each other in a size.
        """
        axes = batch_axes([*self.fed, *self.drawn])
        sizes = solve([_of_any_number(spec, axes[spec.name]) for spec in self.fed], inputs)
        return {
            spec.name: self._array(spec, shape_at(spec, sizes), axes[spec.name], index, seed)
            for spec in self.drawn
        }

    def _array(
        self,
        spec: TensorSpec,
        shape: Sequence[int],
        lies: BatchAxis | None,
        index: npt.NDArray[np.int64],
        seed: int,
    ) -> Array:
        draw = self.draws[spec.name]
        if lies is None:
            return draw.array(shape, spec.dtype, [seed, int(index[0])])
        own = (*shape[: lies.axis], lies.multiple, *shape[lies.axis + 1 :])
        parts = [draw.array(own, spec.dtype, [seed, int(place)]) for place in index]
        return np.concatenate(parts, axis=lies.axis)


def _of_any_number(spec: TensorSpec, lies: BatchAxis | None) -> TensorSpec:
    """A spec with the number of samples left open: a call may hold more than the model takes."""
    if lies is None:
        return spec
    shape = (*spec.shape[: lies.axis], None, *spec.shape[lies.axis + 1 :])
    return replace(spec, shape=shape)
