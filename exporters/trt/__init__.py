"""TensorRT: standard ONNX with Q/DQ, an engine where one can be built, and what builds it."""

from exporters.trt.target import TARGET

__all__ = ["TARGET"]
