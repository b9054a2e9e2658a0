"""TensorRT: the rules, and what the real parser says where TensorRT-RTX is installed."""

from exporters.lint.trt.linter import LINTER

__all__ = ["LINTER"]
