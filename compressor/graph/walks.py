"""Walks along the values of a graph that are not recursive: graphs are thousands of nodes deep."""

from collections.abc import Callable, Iterable

import onnx_ir as ir

from compressor.graph.invariants import subgraphs

__all__ = ["behind", "leads_to", "reads"]


def reads(node: ir.Node) -> list[ir.Value]:
    """What a node reads, in bodies of control flow too; of these also what they make themselves."""
    bodies = list(subgraphs(node))
    inner = [v for body in bodies for one in body.all_nodes() for v in one.inputs]
    inner += [value for body in bodies for value in body.outputs]
    return [value for value in (*node.inputs, *inner) if value is not None]


def behind(values: Iterable[ir.Value], enters: Callable[[ir.Node], bool]) -> list[ir.Node]:
    """The nodes that compute some values, each once and behind those that it reads from.

    Args:
        values: Where the walk begins.
        enters: Whether a node belongs to it; what it reads is walked then.
    """
    found: dict[ir.Node, None] = {}
    waiting = [(node, False) for node in _makers(values)][::-1]
    entered: set[ir.Node] = set()
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            found[node] = None
        elif node not in entered and enters(node):
            entered.add(node)
            waiting.append((node, True))
            read = (value for value in node.inputs if value is not None)
            waiting.extend((maker, False) for maker in _makers(read)[::-1])
    return list(found)


def leads_to(
    value: ir.Value,
    follow: Callable[[ir.Value], Iterable[ir.Node]],
    is_end: Callable[[ir.Node], bool],
    passes: Callable[[ir.Node], Iterable[ir.Value]],
) -> bool:
    """Whether a walk from a value comes to a node that ends it.

    Args:
        value: Where it begins.
        follow: The nodes next to a value: its producer, or its readers.
        is_end: Whether a node is what is looked for.
        passes: The values behind a node; none where the walk stops there.
    """
    waiting, seen = [value], {value}
    while waiting:
        for node in follow(waiting.pop()):
            if is_end(node):
                return True
            further = [one for one in passes(node) if one not in seen]
            seen.update(further)
            waiting.extend(further)
    return False


def _makers(values: Iterable[ir.Value]) -> list[ir.Node]:
    return [maker for value in values if (maker := value.producer()) is not None]
