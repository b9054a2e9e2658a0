"""Names and sizes that a builder has to know: clashing node names, inputs of dynamic shape.

Source: measured with TensorRT-RTX 1.7; NVIDIA, "Working with Dynamic Shapes".
"""

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

from exporters.lint.base import Finding, Rule

NAMES = Rule("names", "warning", "Give every node a name of its own.")
DYNAMIC_SHAPES = Rule(
    "dynamic-shapes",
    "note",
    "Build with an optimization profile: least, most frequent and greatest shape of each input.",
)


def names(model: ir.Model) -> Iterator[Finding]:
    """Layers of one name cannot be told apart, in logs, in the inspector, and in refitting."""
    counted = Counter(node.name for node in model.graph.all_nodes() if node.name)
    for node in model.graph.all_nodes():
        if node.name and counted[node.name] > 1:
            others = counted.pop(node.name) - 1
            yield NAMES.at(
                node, f"its name belongs to {others} more; layers are told by their name"
            )


def dynamic_shapes(model: ir.Model) -> Iterator[Finding]:
    """An engine of dynamic shapes is not built without a profile, which no ONNX file holds."""
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        if value.shape is None:
            yield DYNAMIC_SHAPES.at(None, f"the shape of input {value.name!r} is not known")
        elif any(not isinstance(size, int) for size in value.shape):
            sizes = ",".join(
                str(d) if isinstance(d, int) else (d.value or "?") for d in value.shape
            )
            yield DYNAMIC_SHAPES.at(None, f"input {value.name!r} is dynamic: [{sizes}]")
