"""Which precision each part of a graph gets."""
