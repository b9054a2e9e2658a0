"""Values in parts that fit into memory together; each part is one pass over the samples."""

from collections.abc import Mapping


def parts(sizes: Mapping[str, int], room: int) -> list[list[str]]:
    """Cut names in their order, so that the sizes of each part fit into `room` or it is one name.

    No names are one empty part.
    """
    cut: list[list[str]] = [[]]
    taken = 0
    for name, size in sizes.items():
        if cut[-1] and taken + size > room:
            cut.append([])
            taken = 0
        cut[-1].append(name)
        taken += size
    return cut
