"""Exact folding: the graph that is quantized computes the same with fewer operators."""

from compressor.folding.check import Difference, equal_outputs
from compressor.folding.stage import fold, tidied

__all__ = ["Difference", "equal_outputs", "fold", "tidied"]
