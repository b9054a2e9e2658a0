"""Numbers that stand for those which a graph draws: of a known distribution, and drawn by seed.

What is drawn is a function of seed, sample and shape alone, so that whatever is compared sees the
same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compressor.graph.tensors import Array

Kind = Literal["normal", "uniform"]
"""Distribution: of mean 0 and variance 1, or from 0 on and below 1."""


@dataclass(frozen=True)
class Draw:
    """Random numbers to draw.

    Attributes:
        kind: The distribution.
        salt: Tells apart what is drawn with one seed.
    """

    kind: Kind
    salt: int = 0

    def array(
        self, shape: Sequence[int], dtype: np.dtype[np.generic], seed: Sequence[int]
    ) -> Array:
        """Independent numbers; the same for the same seed, salt and shape.

        Args:
            shape: Shape of the array.
            dtype: A floating-point type. Where it is coarser than float32, a uniform number that
                would round to 1 is the largest one below.
            seed: Numbers from 0 on.
        """
        rng = np.random.default_rng((*seed, self.salt))
        if self.kind == "normal":
            return rng.standard_normal(shape, np.float32).astype(dtype)
        drawn = rng.random(shape, np.float32).astype(dtype)
        least_below = np.nextafter(np.asarray(1, dtype), np.asarray(0, dtype))
        return np.asarray(np.minimum(drawn, least_below), dtype=dtype)
