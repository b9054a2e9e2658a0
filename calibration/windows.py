"""Values in parts that fit into memory together; each part is one pass over the samples."""

from collections.abc import Callable, Iterable


def parts(names: Iterable[str], size: Callable[[str], int], room: int) -> list[list[str]]:
    """Cut the names, in order, so that the sizes of each part add up to at most `room`.

    A name that is larger on its own gets a part of its own.
    """
    cut: list[list[str]] = [[]]
    taken = 0
    for name in names:
        own = size(name)
        if cut[-1] and taken + own > room:
            cut.append([])
            taken = 0
        cut[-1].append(name)
        taken += own
    return cut
