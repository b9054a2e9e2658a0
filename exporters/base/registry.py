"""Which targets there are: the modules and packages beside this package, by their names."""

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from compressor.errors import UsageError
from exporters import DEFAULT_TARGET
from exporters.base.options import TargetOptions

if TYPE_CHECKING:
    from exporters.base.target import Target

_SHARED = ("base", "lint")
"""What lies beside the targets and is none."""


def target_names() -> list[str]:
    """The targets that exist in this installation."""
    return sorted(_found())


def require_target(name: str) -> None:
    """Refuse a name that no target has; none is loaded.

    Raises:
        UsageError: There is none; the message lists those that exist.
    """
    if name not in _found():
        known = ", ".join(target_names())
        raise UsageError(f"unknown target {name!r}", hint=f"Choose one of: {known}.")


def find_target(name: str) -> "Target":
    """The target of that name.

    Raises:
        UsageError: There is none.
    """
    require_target(name)
    found = _found()
    place = f"exporters.{name}.target" if found[name].ispkg else f"exporters.{name}"
    return cast("Target", import_module(place).TARGET)


def target_of(model: Path) -> "Target | None":
    """The target whose runtime alone reads such a file; None for ONNX and all others.

    Args:
        model: A model file, told by its ending.
    """
    if model.suffix in ("", ".onnx"):
        return None
    return next((t for t in map(find_target, _found()) if model.suffix in t.own_files), None)


def reference_target() -> "Target":
    """The target that runs any ONNX graph on this machine, whatever the artifact is for."""
    return find_target(DEFAULT_TARGET)


def options_of(name: str) -> type[TargetOptions] | None:
    """What can be chosen about a target, without loading the target; None where nothing can."""
    found, place = _found(), f"exporters.{name}.options"
    if name not in found or not found[name].ispkg or find_spec(place) is None:
        return None
    return cast("type[TargetOptions]", import_module(place).OPTIONS)


def _found() -> dict[str, pkgutil.ModuleInfo]:
    package = import_module("exporters")
    return {
        module.name: module
        for module in pkgutil.iter_modules(package.__path__)
        if module.name not in _SHARED and not module.name.startswith("_")
    }
