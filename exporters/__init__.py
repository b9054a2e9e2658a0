"""What a runtime is: one module a target, found by its name, each ending in `TARGET = ...`."""
