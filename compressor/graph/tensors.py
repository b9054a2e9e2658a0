"""The description of a named tensor: what a graph input or output, or a data field, looks like."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, npt.NDArray[np.generic]]

Dimension = int | str | None
"""A fixed size, the name of a symbolic size, or unknown."""


@dataclass(frozen=True)
class TensorSpec:
    """Name, element type and shape of a tensor.

    `str()` gives the notation of the command line: `image:float32[batch,3,224,224]`.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[Dimension, ...]

    def __str__(self) -> str:
        dimensions = ",".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.name}:{self.dtype.name}[{dimensions}]"

    @property
    def fixed_batch(self) -> int | None:
        """The leading size when the graph has it baked in, else None."""
        if not self.shape or not isinstance(self.shape[0], int):
            return None
        return self.shape[0]
