"""One call as the model takes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compressor.graph.batch import BatchAxis, Rows, rows_of
from compressor.graph.tensors import Array


@dataclass(frozen=True)
class Batch:
    """A call as the model takes it: preprocessed, contiguous, its samples of one shape.

    Attributes:
        inputs: Input name → array.
        labels: One entry per sample along the first dimension, as stored.
        start: Index of the first sample in its set.
        index: Place of each sample in the source, of which the set may be a part.
        text: What each sample says, where the data has an array `text` of strings.
        axes: Input name → where its samples lie; None for what belongs to the whole call. Inputs
            that it does not name have them along the first dimension.
    """

    inputs: dict[str, Array]
    labels: Array | None
    start: int
    index: npt.NDArray[np.int64]
    text: Array | None = None
    axes: Mapping[str, BatchAxis | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def sample_axes(self) -> dict[str, BatchAxis | None]:
        """Where the samples of each input lie."""
        return {name: self.axes.get(name, BatchAxis(0)) for name in self.inputs}

    def rows(self, which: Rows) -> dict[str, Array]:
        """The inputs of some of the samples, each cut along its own axis."""
        return rows_of(self.inputs, self.sample_axes, which, len(self))

    def filled(self, size: int) -> dict[str, Array]:
        """The inputs of `size` samples: these, repeated or cut."""
        if size == len(self):
            return self.inputs
        return self.rows(np.arange(size) % len(self))
