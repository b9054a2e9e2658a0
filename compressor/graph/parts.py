"""Parts of a graph: the nodes between values that are known and values that are wanted.

A part is made in time that is proportional to it. Stages that walk a graph of thousands of nodes
layer by layer run a part for each, and a copy of the whole for each would cost the square.
"""

from collections.abc import Iterable, Mapping, Sequence

import onnx_ir as ir

from compressor.graph.walks import reads

__all__ = ["Parts"]


class Parts:
    """A model of which parts are run.

    The model may be changed meanwhile: weights of other values, nodes that are put in, names that
    move to other values.
    """

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._values: dict[str, ir.Value] = {}

    def value(self, name: str) -> ir.Value:
        """The graph input or the output of a node of the main graph that bears a name.

        Raises:
            KeyError: There is none.
        """
        found = self._values.get(name)
        if found is None or found.name != name:
            self._values = {v.name or "": v for v in self._model.graph.inputs}
            self._values |= {v.name or "": v for node in self._model.graph for v in node.outputs}
        return self._values[name]

    def between(
        self,
        known: Iterable[str],
        wanted: Sequence[str],
        types: Mapping[str, ir.TypeProtocol] | None = None,
    ) -> ir.Model:
        """A model of its own that computes some values from others.

        Args:
            known: Values that are given: those of them that are read become its inputs, in this
                order, of no stated shape unless they are the model's own inputs.
            wanted: Its outputs, none of which is known.
            types: Types of known values whose type is not stated in the model.
        """
        graph = self._model.graph
        given = {self.value(name): None for name in known}
        outputs = [self.value(name) for name in wanted]
        nodes, read = _needed(graph, outputs, given)
        inputs = [value for value in given if value in read]
        weights = [value for value in read if value.is_initializer() and value.graph is graph]
        view = ir.GraphView(
            inputs, outputs, nodes=nodes, initializers=weights,
            opset_imports=graph.opset_imports, name=graph.name,
        )  # fmt: skip
        part = view.clone()
        for old, new in zip(inputs, part.inputs, strict=True):
            if not old.is_graph_input():
                new.shape, new.const_value = None, None
            new.type = new.type or (types or {}).get(new.name or "")
        for value in part.outputs:
            value.dtype = value.dtype or ir.DataType.FLOAT
        functions = [function.clone() for function in self._model.functions.values()]
        return ir.Model(part, ir_version=self._model.ir_version, functions=functions)


def _needed(
    graph: ir.Graph, outputs: Iterable[ir.Value], given: Mapping[ir.Value, None]
) -> tuple[list[ir.Node], dict[ir.Value, None]]:
    """The nodes behind some values, each behind those that it reads from, and all that they read.

    What is given is not walked through.
    """
    found: dict[ir.Node, None] = {}
    entered: set[ir.Node] = set()
    seen: dict[ir.Value, None] = {}

    def makers(values: Iterable[ir.Value]) -> list[tuple[ir.Node, bool]]:
        nodes = (value.producer() for value in values if value not in given)
        return [(node, False) for node in nodes if node is not None and node.graph is graph][::-1]

    waiting = makers(outputs)
    while waiting:
        node, is_done = waiting.pop()
        if is_done:
            found[node] = None
        elif node not in entered:
            entered.add(node)
            waiting.append((node, True))
            values = reads(node)
            seen |= dict.fromkeys(values)
            waiting.extend(makers(values))
    return list(found), seen
