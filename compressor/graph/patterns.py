"""Patterns of names that say what is left alone."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import onnx_ir as ir

LEFT = "`leave` in [quantize]:"
"""Where patterns of what stays float are given."""


def unmatched(model: ir.Model, patterns: Sequence[str], option: str, what: str) -> tuple[str, ...]:
    """A notice for each pattern without a match: with a slip in it, it would do nothing in silence.

    Args:
        model: The graph.
        patterns: Shell patterns, as `fnmatch` reads them.
        option: Where they were given.
        what: What such a pattern leaves: "nothing alone".
    """
    nodes = list(model.graph.all_nodes())
    names = {name for graph in model.graphs() for name in graph.initializers}
    names |= {node.name or "" for node in nodes}
    names |= {value.name or "" for node in nodes for value in node.outputs}
    return tuple(
        f"{option} {pattern!r} matches no node, value or weight of the graph, and leaves {what}"
        for pattern in patterns
        if not any(fnmatchcase(name, pattern) for name in names)
    )
