"""What holds of a graph after every stage, checked: a broken graph fails far from its cause."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

import onnx_ir as ir
from onnx_ir.passes.common import CheckerPass

from compressor.errors import GraphError
from compressor.graph.chatter import silenced
from compressor.graph.schemas import schema_of

_ELSEWHERE = "unchecked"
"""The domain of operators that the checker does not know: it looks at none of another domain."""


def check(model: ir.Model, stage: str) -> None:
    """Check a model's structure.

    Names are unique, nodes come after what they read, every value that is read is produced, an
    input or an initializer with data, outputs are produced, used domains are imported, and
    ONNX's checker accepts operators, attributes and types, or the runtime what it refuses. Weights
    are neither read nor copied.

    Args:
        model: The model to check; stays as it is.
        stage: What was done last, for the message.

    Raises:
        GraphError: Names the node or value that breaks the rule.
    """
    try:
        for name in ("inputs", "outputs"):
            _check_interface(name, [value.name for value in getattr(model.graph, name)])
        _check_graph(model.graph, _Scope(set(model.opset_imports)))
        for function in model.functions.values():
            _check_domains(function, set(function.opset_imports) | set(model.opset_imports))
    except GraphError as error:
        raise GraphError(f"after {stage}: {error.message}") from None
    try:
        with silenced():
            CheckerPass()(_checkable(model))
    except Exception as error:  # wrapped by the pass around the checker's own classes
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        if not _runs(model):
            raise GraphError(f"after {stage}: ONNX's checker refuses the graph: {cause}") from error


def import_domains(model: ir.Model) -> None:
    """Import the domains of operators that a model uses and does not name, in place.

    ONNX Runtime takes them in their first version.
    """
    for node in model.graph.all_nodes():
        model.opset_imports.setdefault(node.domain, 1)


def _checkable(model: ir.Model) -> ir.Model:
    """The model as ONNX's checker wants it, where runtimes and exporters do not.

    It wants a shape on every input and output, and knows no operators of the standard domain but
    those of the standard: ONNX Runtime has a few of its own there.
    """
    interface = [*model.graph.inputs, *model.graph.outputs]
    unknown = {node.op_type for node in model.graph.all_nodes() if _is_unknown(node, model)}
    if all(value.shape is not None for value in interface) and not unknown:
        return model
    copy = model.clone()
    for value in (*copy.graph.inputs, *copy.graph.outputs):
        if value.shape is None:
            value.shape = ir.Shape([])
    for node in copy.graph.all_nodes() if unknown else ():
        if _is_unknown(node, copy):
            node.domain = _ELSEWHERE
            copy.opset_imports[_ELSEWHERE] = 1
    return copy


def _is_unknown(node: ir.Node, model: ir.Model) -> bool:
    version = model.opset_imports.get("", 0)
    if node.domain != "" or version < 1 or schema_of(node, version) is not None:
        return False
    return _runtime_has(node.op_type, version)


@cache
def _runtime_has(op_type: str, version: int) -> bool:
    """Whether the runtime has an operator of that name in the standard domain."""
    from compressor.graph.session import open_session  # noqa: PLC0415 - as below

    node = ir.node(op_type, [])
    graph = ir.Graph([], node.outputs, nodes=[node], opset_imports={"": version}, name="one")
    try:
        open_session(ir.Model(graph, ir_version=8), optimize=False)
    except GraphError as error:
        return "No Op registered" not in error.message
    return True


def _runs(model: ir.Model) -> bool:
    """Whether the runtime takes what the checker refuses, which then is right."""
    from compressor.graph.session import open_session  # noqa: PLC0415 - it saves models, too

    try:
        open_session(model, optimize=False)
    except GraphError:
        return False
    return True


@dataclass
class _Scope:
    """Values that a node can read: those of its graph so far and of the graphs around it."""

    domains: set[str]
    values: set[ir.Value] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def inner(self) -> "_Scope":
        return _Scope(self.domains, set(self.values), set(self.names))

    def define(self, value: ir.Value, what: str) -> None:
        if value in self.values:
            return
        if not value.name:
            raise GraphError(f"{what} has no name")
        if value.name in self.names:
            raise GraphError(f"{what} has the name {value.name!r}, which another value has too")
        self.values.add(value)
        self.names.add(value.name)


def _check_graph(graph: ir.Graph, scope: _Scope) -> None:
    for value in graph.inputs:
        scope.define(value, "an input")
    for name, value in graph.initializers.items():
        if value.name != name:
            raise GraphError(f"initializer {name!r} calls itself {value.name!r}")
        if value.const_value is None:
            raise GraphError(f"initializer {name!r} has no data")
        scope.define(value, f"initializer {name!r}")
    _check_domains(graph, scope.domains)
    node_names = set[str]()
    for node in graph:
        _check_node(node, scope)
        if not node.name or node.name in node_names:
            raise GraphError(f"the node name {node.name!r} ({node.op_type}) is not unique")
        node_names.add(node.name)
    for value in graph.outputs:
        if value not in scope.values:
            raise GraphError(f"no node produces the output {value.name!r}")


def _check_node(node: ir.Node, scope: _Scope) -> None:
    where = f"node {node.name!r} ({node.op_type})"
    for value in node.inputs:
        if value is not None and value not in scope.values:
            raise GraphError(f"{where} reads {value.name!r}, which nothing before it produces")
    for graph in subgraphs(node):
        _check_graph(graph, scope.inner())
    for value in node.outputs:
        if value.name or value.uses():  # an optional output that is left out has neither
            scope.define(value, f"an output of {where}")


def subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies of a control-flow node."""
    for attribute in node.attributes.values():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _check_interface(kind: str, names: list[str | None]) -> None:
    counts = Counter(names)
    for name in names:
        if not name or counts[name] > 1:
            raise GraphError(f"the name {name!r} among the {kind} is not unique")


def _check_domains(graph: ir.Graph | ir.Function, imported: set[str]) -> None:
    for node in graph:
        if node.domain not in imported:
            raise GraphError(
                f"node {node.name!r} ({node.op_type}) is of domain {node.domain!r}, "
                "which the model does not import"
            )
