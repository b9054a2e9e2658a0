"""Specifications of tensors, as text."""

import numpy as np

from compressor.graph.tensors import TensorSpec


def spec(text: str) -> TensorSpec:
    """`x:float32[batch,3]` as a TensorSpec."""
    name, rest = text.split(":")
    dtype, sizes = rest.rstrip("]").split("[")
    shape = tuple(int(s) if s.isdigit() else None if s == "?" else s for s in sizes.split(","))
    return TensorSpec(name, np.dtype(dtype), shape)
