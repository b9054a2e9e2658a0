"""Element by element, with broadcasting: activations, arithmetic, comparisons, Q/DQ."""

import onnx_ir as ir

from compressor.pruning.coupling.dimensions import Walk, broadcast


def elementwise(walk: Walk, node: ir.Node) -> None:
    """Positions that meet are joined; a single position meets all and adds nothing."""
    result = broadcast(walk, walk.inputs(node))
    for value in node.outputs:
        walk.give(value, result)


def first_only(walk: Walk, node: ir.Node) -> None:
    """The first input passes; the others are parameters of a single element (Dropout)."""
    result = walk.first(node)
    for value in node.outputs:
        walk.give(value, result)


def quantize(walk: Walk, node: ir.Node) -> None:
    """QuantizeLinear and DequantizeLinear: scales of an axis go with it."""
    x, *parameters = walk.inputs(node)
    if node.attributes.get_int("block_size", 0):
        walk.freeze_all(node, "it is quantized in blocks")
        return
    axis = node.attributes.get_int("axis", 1)
    for parameter in parameters:
        if parameter and len(parameter[0]) > 1:
            walk.join(x[axis], parameter[0])
    walk.give(node.outputs[0], x)
