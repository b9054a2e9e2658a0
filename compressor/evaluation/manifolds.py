"""Whether samples lie where others do: balls around those, as wide as to their third neighbour.

The manifold of a set is the union of balls around its samples, each reaching to the third nearest
other sample of the set (Kynkäänniemi et al. 2019, section 2, with k = 3).
"""

import numpy as np

from compressor.evaluation.distributions import Estimate, distances
from compressor.evaluation.jackknife import FloatArray, Indices

NEIGHBOURS = 3
SPARE = 12
"""Neighbours beyond the third that are kept, for when some are left out."""


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
    apart, near, ordered = distances(samples, others), *_neighbours(others)
    radii = ordered[:, NEIGHBOURS - 1]
    within = apart <= radii
    counts = within.sum(axis=1)
    without = []
    for part, place in zip(parts, places, strict=True):
        kept = np.ones(len(samples), dtype=bool)
        kept[part] = False
        gone = np.zeros(len(others), dtype=bool)
        gone[place] = True
        wider = ~gone & gone[near[:, :NEIGHBOURS]].any(axis=1)
        new = _radii(others, gone, near[wider], ordered[wider], np.flatnonzero(wider))
        grown = (apart[:, wider] <= new).sum(axis=1) - within[:, wider].sum(axis=1)
        left = counts - within[:, place].sum(axis=1) + grown
        without.append(100 * float((left[kept] > 0).mean()))
    return Estimate(100 * float((counts > 0).mean()), np.array(without))


def _neighbours(rows: FloatArray) -> tuple[Indices, FloatArray]:
    """The nearest others of each row and how far they are, in order: (m, k) each."""
    apart = distances(rows, rows)
    np.fill_diagonal(apart, np.inf)
    count = min(NEIGHBOURS + SPARE, len(rows) - 1)
    near = np.argpartition(apart, count - 1, axis=1)[:, :count]
    lengths = np.take_along_axis(apart, near, axis=1)
    order = np.argsort(lengths, axis=1, kind="stable")
    return np.take_along_axis(near, order, axis=1), np.take_along_axis(lengths, order, axis=1)


def _radii(
    rows: FloatArray,
    gone: "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]",
    near: Indices,
    ordered: FloatArray,
    which: Indices,
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
