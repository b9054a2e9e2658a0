"""Decisions: the plan, its file, and the only code that turns it into a graph."""
