"""The notation of `--profile`: `name:1x3x224x224,8x3x224x224,32x3x224x224`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

Shape = tuple[int, ...]
FLAG = "--profile name:1x3x224x224,8x3x224x224,32x3x224x224"


class Span(NamedTuple):
    """The shapes of one input: least, most likely, greatest."""

    least: Shape
    likely: Shape
    most: Shape


Profile = dict[str, Span]
"""Input → its shapes."""


def allows(profile: Profile, shapes: Mapping[str, Shape]) -> bool:
    """Whether shapes lie in a profile."""
    sizes = ((shapes[name], span) for name, span in profile.items())
    return all(
        low <= size <= high
        for shape, span in sizes
        for low, size, high in zip(span.least, shape, span.most, strict=True)
    )


def parse_profile(text: str) -> tuple[str, Span]:
    """`name:MIN,OPT,MAX`, each like 1x3x224x224; one shape stands for all three.

    Raises:
        ValueError: It is not of this form, or not min ≤ opt ≤ max.
    """
    name, colon, rest = text.rpartition(":")
    try:
        shapes = [tuple(int(size) for size in part.lower().split("x")) for part in rest.split(",")]
    except ValueError:
        shapes = []
    if not (colon and name) or len(shapes) not in (1, 3) or min(map(min, shapes)) < 0:
        raise ValueError(f"expected name:MIN,OPT,MAX with shapes like 1x3x224x224, not {text!r}")
    span = Span(*(shapes if len(shapes) == 3 else 3 * shapes))
    if len({len(shape) for shape in span}) > 1:
        raise ValueError(f"the shapes of {text!r} differ in rank")
    if any(not low <= mid <= high for low, mid, high in zip(*span, strict=True)):
        raise ValueError(f"expected MIN ≤ OPT ≤ MAX in every dimension of {text!r}")
    return name, span


def asked(texts: Sequence[str]) -> list[Profile]:
    """The profiles of a recipe: a name that comes again begins the next one."""
    found: list[Profile] = []
    for text in texts:
        name, span = parse_profile(text)
        if not found or name in found[-1]:
            found.append({})
        found[-1][name] = span
    return found
