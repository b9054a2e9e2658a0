"""Names: every node and every value of a graph can be told from the others."""

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from compressor.graph.chatter import silenced
from compressor.graph.initializers import FreeNames


class _Names:
    """Names for what has none: the operator for nodes, the producing node for values."""

    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or f"{node.op_type}"

    def generate_value_name(self, value: ir.Value) -> str:
        if value.name:
            return value.name
        producer = value.producer()
        return "value" if producer is None else f"{producer.name or producer.op_type}_output"


def label(node: ir.Node) -> str:
    """The node's name; a node without one is named after what it writes."""
    written = next((value.name for value in node.outputs if value.name), "nothing")
    return node.name or f"(unnamed {node.op_type} that writes {written})"


def make_unique(model: ir.Model) -> int:
    """Give every node a unique non-empty name and every value a unique name, in place.

    Names of inputs and outputs win over names of values inside. Optional outputs that a node
    leaves out (an empty name) stay left out.

    Returns:
        How many nodes and values were named or renamed.
    """
    nodes = list(model.graph.all_nodes())
    before = {id(node): node.name for node in nodes}
    values = [value for node in nodes for value in node.outputs]
    values += [*model.graph.inputs]
    values += [value for graph in model.graphs() for value in graph.initializers.values()]
    names = {id(value): value.name for value in values}
    left_out = [value for value in values if value.name == "" and _is_unused(value)]
    with silenced():
        NameFixPass(name_generator=_Names())(model)
    _make_nodes_unique(nodes)
    for value in left_out:
        value.name = ""
    renamed = sum(node.name != before[id(node)] for node in nodes)
    return renamed + sum(value.name != names[id(value)] for value in values)


def _is_unused(value: ir.Value) -> bool:
    return not value.uses() and not value.is_graph_output()


def _make_nodes_unique(nodes: list[ir.Node]) -> None:
    # `NameFixPass` lets nodes of different subgraphs share a name; messages and tables do not.
    names = FreeNames(first=1)
    for node in nodes:
        node.name = names.take(node.name or node.op_type)
