"""NSGA-II over whole numbers: two objectives, minimized (Deb et al. 2002, IEEE TEC 6(2)).

Individuals are rows of levels. Parents are taken by rank and crowding distance in tournaments of
two (section III), crossed uniformly, and each gene moves to a neighbouring level or anywhere with
a small chance; the best of parents and children survive. Evaluation is of whole populations, so
that ten thousands of architectures take seconds.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Levels = npt.NDArray[np.int64]
"""(individuals, genes)."""
Scores = npt.NDArray[np.float64]
"""(individuals, objectives)."""

POPULATION, GENERATIONS = 160, 120
"""Individuals, and how often they are replaced."""
ANYWHERE = 0.2
"""Chance that a gene that changes goes to any level, not to a neighbour."""


def evolved(
    evaluate: Callable[[Levels], Scores],
    sizes: npt.NDArray[np.int64],
    starts: Levels,
    *,
    seed: int,
    generations: int = GENERATIONS,
) -> tuple[Levels, Scores]:
    """The individuals that none dominates, of all that were looked at, by the first objective.

    Args:
        evaluate: Scores of individuals.
        sizes: Levels of each gene.
        starts: Individuals of the first generation; the rest of it is random.
        seed: Of every random choice.
        generations: How often the population is replaced.
    """
    rng = np.random.default_rng(seed)
    randoms = rng.integers(0, sizes, (max(POPULATION - len(starts), POPULATION // 2), len(sizes)))
    people = np.unique(np.concatenate([starts, randoms]), axis=0)
    scores = evaluate(people)
    archive = _best(people, scores)
    for _ in range(generations):
        children = _children(people, scores, sizes, rng)
        both = np.unique(np.concatenate([people, children]), axis=0)
        found = evaluate(both)
        order = _order(found)[:POPULATION]
        people, scores = both[order], found[order]
        archive = _best(np.concatenate([archive[0], people]), np.concatenate([archive[1], scores]))
    return archive


def _children(
    people: Levels, scores: Scores, sizes: npt.NDArray[np.int64], rng: np.random.Generator
) -> Levels:
    """As many as there are parents."""
    rank = np.empty(len(people), np.int64)
    rank[_order(scores)] = np.arange(len(people))
    pairs = rng.integers(0, len(people), (2, len(people), 2))
    first, second = (
        people[np.where(rank[pair[:, 0]] < rank[pair[:, 1]], pair[:, 0], pair[:, 1])]
        for pair in pairs
    )
    made = np.where(rng.random(first.shape) < 0.5, first, second)
    changes = rng.random(made.shape) < 1.0 / len(sizes)
    steps = np.where(rng.random(made.shape) < 0.5, 1, -1)
    anywhere = rng.integers(0, sizes, made.shape)
    moved = np.where(rng.random(made.shape) < ANYWHERE, anywhere, made + steps)
    return np.clip(np.where(changes, moved, made), 0, sizes - 1)


def _order(scores: Scores) -> npt.NDArray[np.int64]:
    """Indices from best to worst: by front, then by how lonely it is there."""
    ranks = _ranks(scores)
    lonely = np.zeros(len(scores))
    for rank in range(int(ranks.max()) + 1):
        own = np.flatnonzero(ranks == rank)
        lonely[own] = _crowding(scores[own])
    return np.lexsort((-lonely, ranks)).astype(np.int64)


def _ranks(scores: Scores) -> npt.NDArray[np.int64]:
    """The front that each is on: 0 where none dominates it, 1 where only those do, and so on."""
    no_worse = (scores[:, None] <= scores[None]).all(axis=2)
    better = (scores[:, None] < scores[None]).any(axis=2)
    dominates = no_worse & better
    ranks = np.full(len(scores), -1, np.int64)
    left, rank = np.ones(len(scores), bool), 0
    while left.any():
        front = left & ~(dominates & left[:, None]).any(axis=0)
        ranks[front] = rank
        left, rank = left & ~front, rank + 1
    return ranks


def _crowding(scores: Scores) -> npt.NDArray[np.float64]:
    """Sum over objectives of the distance between the neighbours; infinite at the ends."""
    found = np.zeros(len(scores))
    for values in scores.T:
        order = np.argsort(values, kind="stable")
        span = float(np.ptp(values)) or 1.0
        gaps = np.full(len(scores), np.inf)
        gaps[1:-1] = (values[order][2:] - values[order][:-2]) / span
        found[order] += gaps
    return found


def _best(people: Levels, scores: Scores) -> tuple[Levels, Scores]:
    """Those that none dominates, each once, by the first objective (a sweep: two objectives)."""
    order = np.lexsort((scores[:, 1], scores[:, 0]))
    least, kept = np.inf, []
    for index in order:
        if scores[index, 1] < least:
            least = float(scores[index, 1])
            kept.append(index)
    return people[kept], scores[kept]
