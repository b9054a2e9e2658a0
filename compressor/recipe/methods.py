"""The criteria of importance: what tells which units of a group matter."""

from typing import Final, Literal, get_args

Method = Literal["obs", "flap", "wanda", "taylor", "l2", "l1", "random"]
METHODS: Final[tuple[Method, ...]] = get_args(Method)
"""All, the default first; `taylor` is the one that needs gradients, which torch computes."""
NORMS: Final[tuple[Method, ...]] = ("l2", "l1")
"""Those of weights alone, of which a threshold can be asked."""
