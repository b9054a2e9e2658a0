"""Range methods: one module a method, found by its file name.

Each offers `propose(observed, scheme) -> (low, high)`: the real range that the integers cover.
One that takes a parameter (`percentile:99.9`) offers `with_parameter(text)` too, which returns a
method.
"""

import pkgutil
from importlib import import_module
from typing import Protocol, cast

from calibration.observers import Observed
from calibration.scheme import Scheme
from compressor.errors import UsageError


class RangeMethod(Protocol):
    """The interface of a module of this package."""

    def propose(self, observed: Observed, scheme: Scheme) -> tuple[float, float]:
        """The range to quantize to, given what was observed."""


def method_names() -> list[str]:
    """The methods that exist in this installation."""
    return sorted(
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    )


def find_method(name: str) -> RangeMethod:
    """The range method of that name, which may carry a parameter: `percentile:99.9`.

    Raises:
        UsageError: There is none, the message lists those that exist; or it takes no such
            parameter.
    """
    name, colon, parameter = name.partition(":")
    known = method_names()
    if name not in known:
        raise UsageError(
            f"unknown range method {name!r}", hint=f"Choose one of: auto, {', '.join(known)}."
        )
    module = import_module(f"calibration.ranges.{name}")
    if not colon:
        return cast(RangeMethod, module)
    if not hasattr(module, "with_parameter"):
        raise UsageError(f"range method {name!r} takes no parameter, found {parameter!r}")
    return cast(RangeMethod, module.with_parameter(parameter))
