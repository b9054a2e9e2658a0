"""Models that are a loop over several graphs: the user's own function, run, traced and judged."""
