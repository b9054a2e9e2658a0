"""Range methods: one module a method, found by its file name.

Each offers `propose(observed, scheme) -> (low, high)`: the real range that the integers cover.
"""

import pkgutil
from importlib import import_module
from typing import Protocol, cast

from calibration.observers import MinMax
from calibration.scheme import Scheme
from compressor.errors import UsageError


class RangeMethod(Protocol):
    """What a module of this package offers."""

    def propose(self, observed: MinMax, scheme: Scheme) -> tuple[float, float]:
        """The range to quantize to, given what was observed."""


def method_names() -> list[str]:
    """The methods that exist in this installation."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find_method(name: str) -> RangeMethod:
    """The range method of that name.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    known = method_names()
    if name not in known:
        raise UsageError(
            f"unknown range method {name!r}", hint=f"Choose one of: {', '.join(known)}."
        )
    return cast(RangeMethod, import_module(f"calibration.ranges.{name}"))
