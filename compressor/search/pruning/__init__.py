"""How much of a network goes."""
