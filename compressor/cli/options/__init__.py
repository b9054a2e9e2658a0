"""The options of the commands, a module a heading."""
