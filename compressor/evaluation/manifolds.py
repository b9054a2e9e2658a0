"""Whether samples lie where others do: balls around those, as wide as to their third neighbour.

The manifold of a set is the union of balls around its samples, each reaching to the third nearest
other sample of the set (Kynkäänniemi et al. 2019, section 2, with k = 3).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compressor.evaluation.distributions import Estimate, distances
from compressor.evaluation.jackknife import FloatArray, Indices

NEIGHBOURS = 3
SPARE = 12
"""Neighbours beyond the third that are kept, for when some are left out."""
ROWS = 1024
"""Samples whose distances to all others are in memory at a time."""

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Grown:
    """What becomes of a manifold without some of its samples.

    Attributes:
        gone: Those samples.
        wider: Samples whose balls have to reach further then.
        radii: How far, of those.
    """

    gone: Indices
    wider: Indices
    radii: FloatArray


def share_within(
    samples: FloatArray, parts: list[Indices], others: FloatArray, places: list[Indices]
) -> Estimate:
    """The share of samples in the manifold of others, in percent, and without each block of both.

    Args:
        samples: What may lie within, (n, d).
        parts: Its rows, divided.
        others: Whose manifold it is, (m, d).
        places: Its rows, divided into as many blocks.
    """
    centre = others.mean(axis=0)
    samples, others = samples - centre, others - centre
    near, ordered = _neighbours(others)
    radii = ordered[:, NEIGHBOURS - 1]
    manifolds = [_without(others, place, near, ordered) for place in places]
    within = np.zeros(len(samples), dtype=bool)
    left = np.zeros((len(parts), len(samples)), dtype=bool)
    for rows in _pieces(len(samples)):
        apart = distances(samples[rows], others)
        inside = apart <= radii
        counts = inside.sum(axis=1)
        within[rows] = counts > 0
        for block, one in enumerate(manifolds):
            lost = inside[:, one.gone].sum(axis=1) + inside[:, one.wider].sum(axis=1)
            left[block, rows] = counts - lost + (apart[:, one.wider] <= one.radii).sum(axis=1) > 0
    without = [
        100 * float(np.delete(row, part).mean()) for row, part in zip(left, parts, strict=True)
    ]
    return Estimate(100 * float(within.mean()), np.array(without))


def _neighbours(rows: FloatArray) -> tuple[Indices, FloatArray]:
    """The nearest others of each row and how far they are, in order: (m, k) each."""
    count = min(NEIGHBOURS + SPARE, len(rows) - 1)
    near = np.empty((len(rows), count), dtype=np.int64)
    lengths = np.empty((len(rows), count))
    for piece in _pieces(len(rows)):
        apart = distances(rows[piece], rows)
        apart[np.arange(len(apart)), np.arange(len(rows))[piece]] = np.inf
        found = np.argpartition(apart, count - 1, axis=1)[:, :count]
        far = np.take_along_axis(apart, found, axis=1)
        order = np.argsort(far, axis=1, kind="stable")
        near[piece] = np.take_along_axis(found, order, axis=1)
        lengths[piece] = np.take_along_axis(far, order, axis=1)
    return near, lengths


def _without(rows: FloatArray, place: Indices, near: Indices, ordered: FloatArray) -> Grown:
    gone = np.zeros(len(rows), dtype=bool)
    gone[place] = True
    wider = np.flatnonzero(~gone & gone[near[:, :NEIGHBOURS]].any(axis=1))
    return Grown(place, wider, _radii(rows, gone, near[wider], ordered[wider], wider))


def _radii(
    rows: FloatArray, gone: Mask, near: Indices, ordered: FloatArray, which: Indices
) -> FloatArray:
    """Distance of some rows to the third neighbour that is left."""
    left = np.where(gone[near], np.inf, ordered)
    found = np.sort(left, axis=1)[:, NEIGHBOURS - 1]
    for place in np.flatnonzero(np.isinf(found)):  # all that were kept are gone
        row = which[place]
        apart = distances(rows[row : row + 1], rows)[0]
        apart[gone] = apart[row] = np.inf
        found[place] = np.sort(apart)[NEIGHBOURS - 1]
    return np.asarray(found)


def _pieces(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS) for start in range(0, count, ROWS))
