"""How much of a layer's input is held at once."""

from typing import Final

PIECE: Final = 2**26
"""Bytes of patches at once, at most."""
