"""Proposes plans, has them measured, and keeps what pays: within a budget where there is one.

The package can be called: `compressor.search(model, ...)` is `compress search`. A package and a
function cannot both have the name, and the name is what people look for.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """This package, which is also the command."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """`compressor.api.search`, which is above this floor and loaded by name."""
        return import_module("compressor.api").search(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
