"""ONNX Runtime, which says nothing of its own and sends nothing: imported in this one place."""

from functools import cache
from typing import Any

SILENT = 4
"""The least that its loggers tell: what ends the process."""


@cache
def onnx_runtime() -> Any:
    """The module `onnxruntime`, with its own log and its telemetry switched off.

    What it logs beside its errors goes to the terminal past Python, with names out of the model's
    file in it, and colours them. Every error is raised as well.

    Raises:
        ImportError: It is not installed, or broken.
    """
    import onnxruntime  # noqa: PLC0415 - heavy: only jobs that execute pay for it

    onnxruntime.set_default_logger_severity(SILENT)
    onnxruntime.disable_telemetry_events()
    return onnxruntime
