"""Units of figures that only a whole set of samples has: pseudo-values of blocks.

A distance between two sets is no mean over samples. Its samples are divided into B blocks by
chance, and the figure is taken of all and of all but one block, θ and θ_(b). What block b adds is

    u_b = θ + h_b·(θ - θ_(b)) - mean(h·(θ - θ_(·))),   h_b = n / m_b - 1

with m_b of the n samples in it (Tukey 1958; Busing, Meijer and van der Leeden 1999, Statistics and
Computing 9:3-8). The mean of the u_b is θ, and they vary as independent samples would, so that
losses are bounded as those of any mean. `benchmarks/distances.py` measures how well that holds.

Resampling with replacement would repeat samples, and the distance of a set from its own copies is
none of the set's.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

BLOCKS = 50
"""Blocks at most: more of them take longer, and bound no closer."""


def blocks_of(n: int, most: int = BLOCKS) -> list[Indices]:
    """The numbers 0 to n - 1 in blocks of about the same size, drawn by a fixed seed.

    By chance, as data is often sorted: blocks that each hold a share of every part would vary less
    than samples do.
    """
    order = np.random.default_rng(n).permutation(n)
    return [np.sort(part) for part in np.array_split(order, max(1, min(n, most)))]


def pseudo_values(whole: float, without: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """The u_b, (B, 1).

    Args:
        whole: The figure of all samples.
        without: The figure without each block, (B,).
        sizes: Samples of each block.
    """
    sums = np.asarray(sizes, dtype=np.float64)
    added = (sums.sum() / sums - 1) * (whole - without)
    return np.asarray(whole + added - added.mean())[:, None]
