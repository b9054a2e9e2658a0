"""Model compression: a trained checkpoint in, a smaller and faster measured artifact out.

    from compressor import compress, Recipe
    report = compress("model.pt", target="ort", calibration="calib.npz")

The face is lazy (PEP 562): importing the package loads neither torch nor onnxruntime.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from compressor.siblings import claim

if TYPE_CHECKING:
    from compressor.errors import (
        BudgetError,
        CaptureError,
        CheckpointError,
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
    from compressor.inspection import compare, inspect, profile
    from compressor.linting import lint
    from compressor.module.applying import apply_plan
    from compressor.pipeline import compress
    from compressor.plan import Plan
    from compressor.recipe import Recipe
    from compressor.rendering import load_report, render_report
    from compressor.report.schema import Report
    from compressor.sensitivity import sensitivity

_HOMES = {
    "apply_plan": "compressor.module.applying",
    "compress": "compressor.pipeline",
    "profile": "compressor.inspection",
    "inspect": "compressor.inspection",
    "compare": "compressor.inspection",
    "lint": "compressor.linting",
    "Recipe": "compressor.recipe",
    "Plan": "compressor.plan",
    "load_report": "compressor.rendering",
    "render_report": "compressor.rendering",
    "Report": "compressor.report.schema",
    "sensitivity": "compressor.sensitivity",
    **dict.fromkeys(
        (
            "BudgetError",
            "CaptureError",
            "CheckpointError",
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
    "TargetError",
    "UsageError",
    "apply_plan",
    "compare",
    "compress",
    "inspect",
    "lint",
    "load_report",
    "profile",
    "render_report",
    "sensitivity",
]

# A training script's folder comes first on sys.path, and may hold a calibration.py of its own.
for _name in ("calibration", "exporters"):
    claim(_name)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
