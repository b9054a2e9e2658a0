"""Why a target does not do what it is asked to, and what to ask instead."""

from typing import NamedTuple


class Refusal(NamedTuple):
    """A reason that the user can act on.

    Where a reason is only told, as why a node stays float, it is a plain text.

    Attributes:
        reason: What cannot be, and why.
        hint: What to do, in the flags of the target.
    """

    reason: str
    hint: str
