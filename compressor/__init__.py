"""Model compression: a trained checkpoint in, a smaller and faster measured artifact out.

    from compressor import compress, Recipe
    report = compress("model.pt", calibration="calib.npz")

The face is lazy (PEP 562): importing the package loads neither torch nor onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compressor.system.siblings import claim

if TYPE_CHECKING:
    from compressor.api import compress, search
    from compressor.commands.check import check
    from compressor.commands.compare import compare
    from compressor.commands.inspect import inspect, profile
    from compressor.commands.lint import lint
    from compressor.commands.sensitivity import sensitivity
    from compressor.commands.train import train
    from compressor.commands.verify import verify
    from compressor.errors import (
        BudgetError,
        CaptureError,
        CheckpointError,
        CompressionWarning,
        CompressorError,
        DataError,
        GraphError,
        LintError,
        OutputError,
        PruningError,
        RecipeError,
        TargetError,
        UsageError,
    )
    from compressor.module.applying import apply_plan
    from compressor.pipelines.loading import load
    from compressor.plan.plan import Plan
    from compressor.recipe.recipe import Recipe
    from compressor.report.files import load_report, render_report
    from compressor.results.front import SearchReport
    from compressor.results.report import Report

_HOMES = {
    "apply_plan": "compressor.module.applying",
    "check": "compressor.commands.check",
    "compress": "compressor.api",
    "profile": "compressor.commands.inspect",
    "inspect": "compressor.commands.inspect",
    "compare": "compressor.commands.compare",
    "lint": "compressor.commands.lint",
    "load": "compressor.pipelines.loading",
    "Recipe": "compressor.recipe.recipe",
    "Plan": "compressor.plan.plan",
    "load_report": "compressor.report.files",
    "render_report": "compressor.report.files",
    "Report": "compressor.results.report",
    "SearchReport": "compressor.results.front",
    "sensitivity": "compressor.commands.sensitivity",
    "train": "compressor.commands.train",
    "verify": "compressor.commands.verify",
    **dict.fromkeys(
        (
            "BudgetError",
            "CaptureError",
            "CheckpointError",
            "CompressionWarning",
            "CompressorError",
            "DataError",
            "GraphError",
            "LintError",
            "OutputError",
            "PruningError",
            "RecipeError",
            "TargetError",
            "UsageError",
        ),
        "compressor.errors",
    ),
}

__all__ = [
    "BudgetError",
    "CaptureError",
    "CheckpointError",
    "CompressionWarning",
    "CompressorError",
    "DataError",
    "GraphError",
    "LintError",
    "OutputError",
    "Plan",
    "PruningError",
    "Recipe",
    "RecipeError",
    "Report",
    "SearchReport",
    "TargetError",
    "UsageError",
    "__version__",
    "apply_plan",
    "check",
    "compare",
    "compress",
    "inspect",
    "lint",
    "load",
    "load_report",
    "profile",
    "render_report",
    "search",
    "sensitivity",
    "train",
    "verify",
]

# A training script's folder comes first on sys.path, and may hold a calibration.py of its own.
for _name in ("calibration", "exporters"):
    claim(_name)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name == "search":  # a package that can be called
        return import_module("compressor.search")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def _version() -> str:
    """That of the installed package; "0" where it runs from a clone."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - takes 20 ms

    try:
        return version("compressor")
    except PackageNotFoundError:
        return "0"


def __dir__() -> list[str]:
    return sorted(__all__)
