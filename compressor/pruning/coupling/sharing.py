"""What a graph stores or computes once for several uses that need not shrink alike.

Exporters and folding keep one copy of equal things: a bias of zeros, a scale of ones, the shape
that all heads are reshaped to. That says nothing about what belongs together, so that every use
gets a copy of its own before groups are found, and equal copies become one again after the cut.
Matrices and kernels that are shared are meant so and stay shared.
"""

from collections.abc import Iterator

import onnx_ir as ir

from compressor.graph.walks import behind

_COPIED_FROM = "pruning copied from"

_TAKES_SIZES = frozenset(
    {"Reshape", "Expand", "Tile", "Slice", "Split", "Resize", "Pad", "ConstantOfShape"}
)

_FILLS = frozenset({"ConstantOfShape", "Expand"})

_ON_SIZES = frozenset(
    """
    Add Cast Concat Div Equal Gather Identity Mul ReduceProd Reshape Slice Squeeze Sub Unsqueeze
    Where
    """.split()  # noqa: SIM905 - reads better than one a line
)


def separate(graph: ir.Graph) -> None:
    """Give every use of a vector, and every user of computed sizes, its own copy, in place."""
    for vector in filter(_is_vector, list(graph.initializers.values())):
        for number, (node, index) in enumerate(list(vector.uses())[1:], 2):
            node.replace_input_with(index, _copied(graph, vector, number))
    taken: set[ir.Node] = set()
    for user in list(graph):
        for index, value in enumerate(user.inputs):
            chain = _computing(user, index, value)
            if value is not None and taken.intersection(chain):
                user.replace_input_with(index, _copied_chain(user, index, chain))
            taken.update(chain)


def reunite(graph: ir.Graph) -> None:
    """Make one of the copies that are still equal to what they were copied from, in place."""
    for value in list(graph.initializers.values()):
        source = graph.initializers.get(value.meta.get(_COPIED_FROM, ""))
        if source is not None and _same_data(value, source):
            value.replace_all_uses_with(source)
            graph.initializers.pop(value.name or "")
    values = {value.name: value for node in graph for value in node.outputs}
    for node in list(graph):
        for copy in node.outputs[:1]:
            computed = values.get(copy.meta.get(_COPIED_FROM))
            original = None if computed is None else computed.producer()
            if computed is None or original is None:
                continue
            if all(map(_same, node.inputs, original.inputs)):
                copy.replace_all_uses_with(computed)
                graph.remove(node, safe=True)


def _is_vector(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or value.is_graph_output():
        return False
    wide = sum(size > 1 for size in tensor.shape.numpy())
    return wide == 1 and tensor.dtype.is_floating_point() and len(value.uses()) > 1


def _copied(graph: ir.Graph, value: ir.Value, number: int) -> ir.Value:
    copy = ir.Value(
        name=f"{value.name}#{number}",
        shape=value.shape,
        type=value.type,
        const_value=value.const_value,
    )
    copy.meta[_COPIED_FROM] = value.name
    graph.register_initializer(copy)
    return copy


def _computing(user: ir.Node, index: int, value: ir.Value | None) -> list[ir.Node]:
    """The nodes that compute a size, or a tensor of equal numbers, for an input of a node."""
    made = None if value is None else value.producer()
    if made is None or value is None:
        return []
    if made.op_type in _FILLS and (made.op_type == "ConstantOfShape" or _is_stored(made.inputs[0])):
        return [*(node for read in _read(made) for node in _chain(read)), made]
    takes_sizes = user.op_type == "ConstantOfShape" or (index > 0 and user.op_type in _TAKES_SIZES)
    return _chain(value) if takes_sizes else []


def _is_stored(value: ir.Value | None) -> bool:
    return value is not None and value.is_initializer()


def _chain(value: ir.Value) -> list[ir.Node]:
    """The nodes that compute sizes, from Shape or constants on, in order."""
    return behind([value], lambda node: node.op_type in _ON_SIZES)


def _read(node: ir.Node) -> Iterator[ir.Value]:
    return (value for value in node.inputs if value is not None)


def _copied_chain(user: ir.Node, index: int, chain: list[ir.Node]) -> ir.Value:
    graph, value = user.graph, user.inputs[index]
    assert graph is not None
    copies: dict[ir.Value | None, ir.Value] = {}
    where = f"for input {index} of {user.name}"
    for node in chain:
        copy = ir.Node(
            node.domain,
            node.op_type,
            [copies.get(read, read) for read in node.inputs],
            list(node.attributes.values()),
            name=f"{node.name} {where}",
        )
        for old, new in zip(node.outputs, copy.outputs, strict=True):
            new.name = f"{old.name} {where}"
            new.shape, new.type = old.shape, old.type
            new.meta[_COPIED_FROM] = old.name
            copies[old] = new
        graph.insert_before(user, copy)
    return copies[value]


def _same(a: ir.Value | None, b: ir.Value | None) -> bool:
    return a is b or (a is not None and b is not None and _same_data(a, b))


def _same_data(a: ir.Value, b: ir.Value) -> bool:
    x, y = a.const_value, b.const_value
    if x is None or y is None:
        return False
    return x is y or (x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes())
