"""Which channels go together, and how they are cut."""
