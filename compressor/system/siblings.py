"""Keeps `calibration` and `exporters` ours where a user's own module has that name.

Both are common words. In a script that lies beside its author's `calibration.py`, Python finds
that file first, and `import calibration.scheme` inside this package would fail. So `import
compressor` claims the names for the packages installed beside it. The user's module is not lost:
what ours does not have is looked up in theirs, so that their `from calibration import batches`
goes on working, whichever of the two was imported first.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType

HOME = Path(__file__).resolve().parents[2]


def claim(name: str) -> None:
    """Make `import name` mean the package beside this one, in this process.

    Raises:
        ModuleNotFoundError: There is no such package beside this one: a broken installation.
    """
    present = sys.modules.get(name)
    if present is not None and _is_ours(present.__spec__):
        return
    spec = PathFinder.find_spec(name, [str(HOME)])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"the package {name!r} is missing beside compressor in {HOME}")
    ours = module_from_spec(spec)
    sys.modules[name] = ours
    spec.loader.exec_module(ours)
    # A module's own __getattr__ is asked for what it does not have (PEP 562).
    ours.__dict__["__getattr__"] = _fallback(ours, present)


def _fallback(ours: ModuleType, theirs: ModuleType | None) -> Callable[[str], object]:
    def lookup(attribute: str) -> object:
        nonlocal theirs
        missing = AttributeError(f"module {ours.__name__!r} has no attribute {attribute!r}")
        submodule = PathFinder.find_spec(f"{ours.__name__}.{attribute}", ours.__path__)
        if attribute.startswith("__") or submodule is not None:
            raise missing  # `from calibration import scheme` goes on to import the submodule
        theirs = theirs or _load_theirs(ours.__name__)
        if theirs is None:
            raise missing
        return getattr(theirs, attribute)

    return lookup


def _load_theirs(name: str) -> ModuleType | None:
    """The user's module, under a name of its own; None where `sys.path` has no other `name`."""
    for entry in sys.path:
        spec = PathFinder.find_spec(name, [entry])
        if spec and spec.loader and spec.has_location and not _is_ours(spec):
            module = module_from_spec(spec)
            sys.modules[f"_user_{name}"] = module
            spec.loader.exec_module(module)
            return module
    return None


def _is_ours(spec: ModuleSpec | None) -> bool:
    if spec is None or spec.origin is None:
        return False
    return Path(spec.origin).resolve() == HOME / spec.name / "__init__.py"
