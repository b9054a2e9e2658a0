"""What a target is. Stages know a target only through these types.

A new target is one module `exporters/NAME.py`, or a package `exporters/NAME` with a module
`target`, that ends in `TARGET = ...`; it is found by its name. A package may have a module
`options` beside it that ends in `OPTIONS = ...`: its section of the recipe, with the flags of the
command line.

The face is lazy (PEP 562): `compress --help` reads names and options, and loads no graph.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressor.results.engine import Agreement, EngineBuild
    from exporters.base.artifact import Artifact, CallShapes, Samples
    from exporters.base.execution import Execution
    from exporters.base.form import Form, Place
    from exporters.base.options import Flag, TargetOptions
    from exporters.base.passing import PassingRunner
    from exporters.base.policy import QuantPolicy
    from exporters.base.profiled import Kernel, Profiled
    from exporters.base.refusal import Refusal
    from exporters.base.registry import (
        find_target,
        options_of,
        reference_target,
        target_names,
        target_of,
    )
    from exporters.base.runner import Runner
    from exporters.base.shared_cache import SharedCaches, SharedTensor
    from exporters.base.target import Target

_HOMES = {
    **dict.fromkeys(("Agreement", "EngineBuild"), "compressor.results.engine"),
    **dict.fromkeys(("Artifact", "CallShapes", "Samples"), "exporters.base.artifact"),
    **dict.fromkeys(("Flag", "TargetOptions"), "exporters.base.options"),
    **dict.fromkeys(("Form", "Place"), "exporters.base.form"),
    "Execution": "exporters.base.execution",
    "QuantPolicy": "exporters.base.policy",
    **dict.fromkeys(("Kernel", "Profiled"), "exporters.base.profiled"),
    **dict.fromkeys(
        ("find_target", "options_of", "reference_target", "target_names", "target_of"),
        "exporters.base.registry",
    ),
    "Refusal": "exporters.base.refusal",
    "PassingRunner": "exporters.base.passing",
    "Runner": "exporters.base.runner",
    **dict.fromkeys(("SharedCaches", "SharedTensor"), "exporters.base.shared_cache"),
    "Target": "exporters.base.target",
}

__all__ = [
    "Agreement",
    "Artifact",
    "CallShapes",
    "EngineBuild",
    "Execution",
    "Flag",
    "Form",
    "Kernel",
    "PassingRunner",
    "Place",
    "Profiled",
    "QuantPolicy",
    "Refusal",
    "Runner",
    "Samples",
    "SharedCaches",
    "SharedTensor",
    "Target",
    "TargetOptions",
    "find_target",
    "options_of",
    "reference_target",
    "target_names",
    "target_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
