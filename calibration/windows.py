"""Values in parts that fit into memory together; each part is one pass over the samples."""

from collections.abc import Mapping

import psutil


def beyond(size: int, memory: int | None) -> str | None:
    """Why something that cannot be cut is not held at all; None where it can be.

    Args:
        size: Its bytes.
        memory: Bytes that were allowed; None for half of what this machine has left.
    """
    room = psutil.virtual_memory().available // 2 if memory is None else memory
    if size <= room:
        return None
    allowed = "half of what is free is" if memory is None else "--memory allows"
    return f"{_words(size)} are needed, and {allowed} {_words(room)}"


def _words(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


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
