"""Which units go."""
