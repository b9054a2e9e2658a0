"""Products that read a table turned round: their weight as their own, and shared again.

    y = MatMul(x, Transpose(T))      T [tokens, width], which a Gather reads, too

Folding leaves this as it is, as the file would hold the table twice (Press & Wolf 2017, arXiv
1608.05859). What becomes integers has to be a weight, though, and once it is, nothing is twice:
integers have another layout. So precision is decided on a graph in which such products have their
weight; where one stays float, its Transpose is put back.
"""

from typing import NamedTuple

import onnx_ir as ir

from compressor.graph.constants import constant, is_stored
from compressor.graph.initializers import FreeNames, add_initializer, names_beside
from compressor.graph.invariants import subgraphs

_PRODUCTS = frozenset({"MatMul", "Gemm"})
_TURNED = "compressor.turned"
"""Key of the note at a weight that was a Transpose; it is of a graph in memory alone."""


class _Turned(NamedTuple):
    """Where a weight is from.

    Attributes:
        node: The Transpose, in the graph that it was found in.
        following: Name of the node behind it.
        source: Name of the table.
        table: Its numbers.
        weight: Those numbers turned round.
    """

    node: ir.Node
    following: str
    source: str
    table: ir.TensorProtocol
    weight: ir.TensorProtocol


def with_own_weights(model: ir.Model) -> ir.Model:
    """The graph with a weight for each product that reads a turned table; `model` stays as it is.

    Where there is none, `model` itself.
    """
    if not any(_readers(node) for node in model.graph):
        return model
    made = model.clone()
    names = names_beside(made.graph)
    originals = list(model.graph)
    behind = [*(node.name or "" for node in originals[1:]), ""]
    for found, following, node in zip(originals, behind, list(made.graph), strict=True):
        readers, source = _readers(node), node.inputs[0] if node.inputs else None
        if not readers or source is None:
            continue
        table, output = constant(source), node.outputs[0]
        assert table is not None, "it was looked at"
        numbers = table.numpy().T.copy()
        own = add_initializer(made.graph, names.take(f"{source.name}_turned"), numbers)
        assert own.const_value is not None, "it was just given"
        noted = _Turned(found, following, source.name or "", table, own.const_value)
        own.meta[_TURNED] = noted
        for reader in readers:
            reader.replace_input_with(1, own)
        if not output.uses() and not output.is_graph_output():
            made.graph.remove(node, safe=True)
    return made


def with_shared_tables(model: ir.Model) -> ir.Model:
    """The graph with a Transpose for each such weight that is still read as it was given.

    Args:
        model: Stays as it is. Where nothing is to be done, it is returned itself.
    """
    if not any(_is_as_given(model.graph, value) for value in model.graph.initializers.values()):
        return model
    made = model.clone()
    names = names_beside(made.graph)
    # Backwards, as one may have stood right before another.
    for value in reversed(list(made.graph.initializers.values())):
        if not _is_as_given(made.graph, value):
            continue
        turned: _Turned = value.meta[_TURNED]
        output = _still_written(made.graph, turned) or _written(made.graph, turned, value, names)
        value.replace_all_uses_with(output)
        made.graph.initializers.pop(value.name or "")
    return made


def _still_written(graph: ir.Graph, turned: _Turned) -> ir.Value | None:
    """What the Transpose writes that others read, too, and that therefore stayed."""
    table = graph.initializers[turned.source]
    left = (use.node for use in table.uses() if use.node.graph is graph)
    return next((one.outputs[0] for one in left if one.name == turned.node.name), None)


def _written(graph: ir.Graph, turned: _Turned, value: ir.Value, names: FreeNames) -> ir.Value:
    """What a new Transpose writes, where it stood or before all that read `value`."""
    old = turned.node
    node = ir.Node(
        "",
        "Transpose",
        [graph.initializers[turned.source]],
        old.attributes.values(),
        name=old.name,
        doc_string=old.doc_string,
        metadata_props=old.metadata_props,
    )
    output, like = node.outputs[0], old.outputs[0]
    output.name, output.shape, output.type = names.take(like.name or ""), like.shape, like.type
    inside = {id(use.node) for use in value.uses()}
    place = next(one for one in graph if one.name == turned.following or _has(one, inside))
    graph.insert_before(place, node)
    return output


def _has(node: ir.Node, readers: set[int]) -> bool:
    """Whether a node, or one in its bodies, is among some."""
    inner = (one for body in subgraphs(node) for one in body)
    return id(node) in readers or any(_has(one, readers) for one in inner)


def _readers(node: ir.Node) -> list[ir.Node]:
    """The products whose weight a node makes of a table; none of any other node."""
    if node.op_type != "Transpose" or node.domain != "" or not is_stored(node.inputs[0]):
        return []
    table = constant(node.inputs[0])
    turns = list(node.attributes.get_ints("perm", [1, 0])) == [1, 0]
    if table is None or len(table.shape) != 2 or not turns:
        return []
    uses = node.outputs[0].uses()
    return [use.node for use in uses if use.idx == 1 and use.node.op_type in _PRODUCTS]


def _is_as_given(graph: ir.Graph, value: ir.Value) -> bool:
    """Whether a weight and its table hold the numbers that they held."""
    turned: _Turned | None = value.meta.get(_TURNED)
    if turned is None or value.const_value is not turned.weight:
        return False
    table = graph.initializers.get(turned.source)
    return bool(value.uses()) and table is not None and table.const_value is turned.table
