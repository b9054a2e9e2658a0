"""Early exits: a classifier answers at the end of a block where it is sure already.

Finding where that can be, reading what heads score, and branching the graph with `If`.
"""
