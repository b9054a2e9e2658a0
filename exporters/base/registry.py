"""Which targets there are: the modules beside this package, by their names."""

import pkgutil
from importlib import import_module
from typing import cast

from compressor.errors import UsageError
from exporters.base.target import Target


def target_names() -> list[str]:
    """The targets that exist in this installation."""
    package = import_module("exporters")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.name not in ("base", "lint") and not module.name.startswith("_")
    )


def find_target(name: str) -> Target:
    """The target of that name.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    known = target_names()
    if name not in known:
        raise UsageError(f"unknown target {name!r}", hint=f"Choose one of: {', '.join(known)}.")
    return cast(Target, import_module(f"exporters.{name}").TARGET)
