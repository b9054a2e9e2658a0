"""The mathematics of a front: what dominates what, the volume that it dominates, its knee.

All values are minimized; the loss of quality stands for quality.
"""

from collections.abc import Sequence
from math import dist, prod

Values = tuple[float, ...]


def dominates(one: Values, other: Values) -> bool:
    """Whether `one` is nowhere worse and somewhere better (Pareto dominance)."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


def front_of(points: Sequence[Values]) -> list[int]:
    """Indices of the points that none dominates, of equal ones the first; in their order."""
    found = []
    for index, point in enumerate(points):
        if any(dominates(other, point) for other in points) or point in points[:index]:
            continue
        found.append(index)
    return found


def hypervolume(points: Sequence[Values], reference: Values) -> float:
    """The volume between the points and a reference that they dominate, as a share of the box.

        HV(P, r) = λ(∪_p [p, r]) / Π (r_i - 0)

    sliced along the last objective (HSO: While et al. 2006, A faster algorithm for calculating
    hypervolume, section III). Objectives start at 0, but for what lies below it: a gain in quality
    counts as no loss.

    Args:
        points: Values of the objectives.
        reference: The worst that counts; what is beyond it in any objective counts nothing.
    """
    inside = [
        tuple(max(0.0, value) for value in point)
        for point in points
        if all(value < worst for value, worst in zip(point, reference, strict=True))
    ]
    box = prod(reference)
    return _volume(inside, reference) / box if box > 0 else 0.0


def _volume(points: Sequence[Values], reference: Values) -> float:
    if not points:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(point[0] for point in points)
    heights = sorted({point[-1] for point in points})
    total = 0.0
    for low, high in zip(heights, [*heights[1:], reference[-1]], strict=True):
        below = [point[:-1] for point in points if point[-1] <= low]
        total += (high - low) * _volume(below, reference[:-1])
    return total


def knee(points: Sequence[Values]) -> int:
    """The point nearest to the ideal, each objective scaled to what the front spans.

        argmin_p Σ ((p_i - min_i) / (max_i - min_i))²

    (compromise programming: Zeleny 1973). A single point is its own knee.
    """
    lows = tuple(map(min, zip(*points, strict=True)))
    spans = [max(values) - low or 1.0 for values, low in zip(zip(*points), lows, strict=True)]  # noqa: B905

    def scaled(point: Values) -> list[float]:
        return [(v - low) / span for v, low, span in zip(point, lows, spans, strict=True)]

    return min(range(len(points)), key=lambda i: dist(scaled(points[i]), [0.0] * len(lows)))
