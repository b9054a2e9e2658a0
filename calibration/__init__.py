"""What numbers flow through a graph: data, observers, statistics, ranges."""
