"""What an operator knows of its node before it runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir


@dataclass(frozen=True)
class Attributes:
    """The constants of a node.

    Attributes:
        name: The node.
        operator: Its type.
        version: Of its operator set; older operators have other defaults.
        outputs: How many of its outputs are read.
        values: Attribute → number, text, list of them, or tensor.
        dropout: Whether a Dropout drops, as it does in training.
    """

    name: str
    operator: str
    version: int
    outputs: int = 1
    values: dict[str, Any] = field(default_factory=dict)
    dropout: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or its default."""
        return self.values.get(name, default)

    def ints(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """An attribute that lists whole numbers."""
        found = self.values.get(name)
        if found is not None:
            return [int(one) for one in found]
        return None if default is None else list(default)

    def text(self, name: str, default: str) -> str:
        """An attribute of text, as newer and older files have it."""
        found = self.values.get(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)


def attributes_of(node: ir.Node, version: int, *, dropout: bool = False) -> Attributes:
    """What is constant in a node; graphs in it are left out.

    Args:
        node: A node whose attributes refer to no function's parameters.
        version: Of the operator set that its model imports.
        dropout: Whether a Dropout drops.
    """
    graphs = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    values = {
        name: attribute.value
        for name, attribute in node.attributes.items()
        if isinstance(attribute, ir.Attr) and attribute.type not in graphs
    }
    read = [bool(value.uses() or value.is_graph_output()) for value in node.outputs]
    count = max((i + 1 for i, one in enumerate(read) if one), default=1)
    own = version if node.version is None else node.version
    return Attributes(node.name or "", node.op_type, own, count, values, dropout)
