"""The form of a graph that groups are found in and cut from."""

import onnx_ir as ir
from onnx_ir.passes.common import (
    InlinePass,
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
)

from compressor.graph.chatter import silenced
from compressor.graph.names import make_unique

_COPIED_FROM = "pruning copied from"


def canonical(model: ir.Model) -> ir.Model:
    """A copy with functions inlined, constants as initializers, and vectors of their own.

    Vectors that equal each other (a bias of zeros, a scale of ones) are often stored once, which
    does not mean that they belong together: every use gets its own, named `<name>#2` and so on,
    over the same data. A folded model without such vectors keeps all its names.
    """
    with silenced():
        copy = InlinePass()(model.clone()).model
        LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
        LiftSubgraphInitializersToMainGraphPass()(copy)
    make_unique(copy)
    for value in list(copy.graph.initializers.values()):
        if _is_vector(value):
            for number, (node, index) in enumerate(list(value.uses())[1:], 2):
                node.replace_input_with(index, _duplicate(copy.graph, value, number))
    return copy


def reunite(graph: ir.Graph) -> None:
    """Store the copies that `canonical` made, and that are still equal, once; in place."""
    for value in list(graph.initializers.values()):
        source = graph.initializers.get(value.meta.get(_COPIED_FROM, ""))
        if source is None or value.const_value is None or source.const_value is None:
            continue
        same = value.const_value.shape == source.const_value.shape
        if same and value.const_value.tobytes() == source.const_value.tobytes():
            value.replace_all_uses_with(source)
            graph.initializers.pop(value.name or "")


def _is_vector(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or value.is_graph_output():
        return False
    wide = sum(size > 1 for size in tensor.shape.numpy())
    return wide == 1 and tensor.dtype.is_floating_point() and len(value.uses()) > 1


def _duplicate(graph: ir.Graph, value: ir.Value, number: int) -> ir.Value:
    copy = ir.Value(
        name=f"{value.name}#{number}",
        shape=value.shape,
        type=value.type,
        const_value=value.const_value,
    )
    copy.meta[_COPIED_FROM] = value.name
    graph.register_initializer(copy)
    return copy
