"""The one bisection of the search: shares, counts and sizes between what holds and what fails."""

from collections.abc import Callable
from typing import NamedTuple


class Bracket(NamedTuple):
    """Where a border lies: `holds` was accepted, or surely would be, and `fails` was not."""

    holds: float
    fails: float

    def with_(self, value: float, *, accepted: bool) -> "Bracket":
        """What follows from a value inside it."""
        return Bracket(value, self.fails) if accepted else Bracket(self.holds, value)


def half_way(found: Bracket) -> float:
    """The middle of a bracket."""
    return (found.holds + found.fails) / 2


def bisect(
    start: Bracket,
    attempt: Callable[[float, Bracket], Bracket | None],
    until: Callable[[Bracket], bool],
    middle: Callable[[Bracket], float] = half_way,
) -> None:
    """Narrow a bracket by attempts between its ends, whichever of them is the greater.

    Args:
        start: What is known.
        attempt: Tries a value, and returns the bracket that follows from what became of it; None
            where nothing between its ends can be tried any more.
        until: Asked before every attempt whether it is over.
        middle: The value to try.
    """
    found: Bracket | None = start
    while found is not None and not until(found):
        found = attempt(middle(found), found)
