"""Algebra of one layer, which pruning and rounding share: moments, im2col, frontiers."""
