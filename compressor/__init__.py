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
        OutputError,
        PruningError,
        RecipeError,
        TargetError,
        UsageError,
    )
    from compressor.inspection import compare, inspect, profile
    from compressor.pipeline import compress
    from compressor.plan import Plan
    from compressor.recipe import Recipe
    from compressor.report.schema import Report

_HOMES = {
    "compress": "compressor.pipeline",
    "profile": "compressor.inspection",
    "inspect": "compressor.inspection",
    "compare": "compressor.inspection",
    "Recipe": "compressor.recipe",
    "Plan": "compressor.plan",
    "Report": "compressor.report.schema",
    **dict.fromkeys(
        (
            "BudgetError",
            "CaptureError",
            "CheckpointError",
            "CompressorError",
            "DataError",
            "GraphError",
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
    "OutputError",
    "Plan",
    "PruningError",
    "Recipe",
    "RecipeError",
    "Report",
    "TargetError",
    "UsageError",
    "compare",
    "compress",
    "inspect",
    "profile",
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
