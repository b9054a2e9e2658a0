"""What a runtime is: one module or package a target, found by its name (`exporters.base`)."""

from typing import Final

DEFAULT_TARGET: Final = "ort"
"""The runtime of an artifact unless another is named; it runs any ONNX graph on any machine."""
DEFAULT_LINTER: Final = "trt"
"""The runtime that `compress lint` asks unless another is named."""
