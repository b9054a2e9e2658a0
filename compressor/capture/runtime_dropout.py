"""Dropout in training mode, which ONNX Runtime leaves out all the same.

Its optimizer removes a Dropout whose mask nobody reads, whatever its mode, unless it reads an input
of the graph or makes an output. What such a file computes where it runs, the artifact computes.
"""

import onnx_ir as ir

from compressor.graph.noise import draws

_TRAINING = 2


def without_dropout(model: ir.Model) -> tuple[ir.Model, tuple[str, ...]]:
    """A copy with every Dropout that the runtime leaves out in inference mode, and their names."""
    copy = model.clone()
    names = []
    for node in copy.graph.all_nodes():
        if node.op_type != "Dropout" or not draws(node):
            continue
        masks = node.outputs[1:]
        read = any(mask.uses() or mask.is_graph_output() for mask in masks)
        ends = node.inputs[0] is None or node.inputs[0].is_graph_input()
        ends = ends or node.outputs[0].is_graph_output()
        if not read and not ends:
            node.replace_input_with(_TRAINING, None)
            names.append(node.name or "")
    return (copy, tuple(names)) if names else (model, ())
