"""What a caller sees of a model stays: inputs with their defaults, and outputs by name."""

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import OutputFixPass


def hide_defaults(model: ir.Model) -> dict[str, ir.TensorProtocol]:
    """Take the data of inputs that have a default away, so that nothing is folded with it.

    Returns:
        Input name → the data, for `restore_defaults`.
    """
    hidden: dict[str, ir.TensorProtocol] = {}
    for value in model.graph.inputs:
        name = value.name or ""
        if name in model.graph.initializers and value.const_value is not None:
            hidden[name] = value.const_value
            model.graph.initializers.pop(name)
            value.const_value = None
    return hidden


def restore_defaults(model: ir.Model, hidden: dict[str, ir.TensorProtocol]) -> None:
    """Give inputs their defaults back."""
    for value in model.graph.inputs:
        if value.name in hidden:
            value.const_value = hidden[value.name]
            model.graph.initializers.add(value)


def restore_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Give the outputs, by position, the names they had.

    Passes that replace one value by an equal one can leave two outputs with one value, or the name
    of one output on another. An input that is returned under its own name stays as it is.
    """
    graph = model.graph
    returned = [
        (index, value)
        for index, (value, name) in enumerate(zip(graph.outputs, names, strict=True))
        if value.is_graph_input() and value.name == name
    ]
    for index, _ in reversed(returned):
        del graph.outputs[index]
    kept = {index for index, _ in returned}
    _rename_outputs(model, [name for index, name in enumerate(names) if index not in kept])
    for index, value in returned:
        graph.outputs.insert(index, value)


def _rename_outputs(model: ir.Model, names: Sequence[str]) -> None:
    OutputFixPass()(model)
    graph = model.graph
    for index, value in enumerate(graph.outputs):
        if value.is_initializer():
            node = ir.node("Identity", [value])
            node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
            graph.append(node)
            graph.outputs[index] = node.outputs[0]
    if [value.name for value in graph.outputs] == list(names):
        return
    taken = {name: v for name, v in graph.initializers.items() if name in names}
    for name, value in taken.items():
        value.name = f"{name}_constant"
    for index, value in enumerate(graph.outputs):
        value.name = f"output {index} of the graph"
    for value, name in zip(graph.outputs, names, strict=True):
        value.name = name
