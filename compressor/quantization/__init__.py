"""Quantization: where Q/DQ goes by a target's policy, weights, and the rewritten graph."""
