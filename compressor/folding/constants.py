"""What depends on constants alone is computed once."""

from collections import Counter
from collections.abc import Mapping
from math import prod

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import (
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
    RemoveUnusedNodesPass,
)
from onnxscript.optimizer import FOLDED_FROM_KEY, fold_constants_ir

from compressor.graph.constants import constant
from compressor.graph.initializers import add_initializer, free_name
from compressor.graph.noise import RANDOM
from compressor.graph.stretches import LOOKED_UP
from compressor.results.effects import node_count

_GROWTH = 2**16
"""Elements up to which a result may be larger than the constants it is computed from."""

_SHARED = 1024
"""Elements from which a weight that other nodes read too is not stored once more, transposed."""

_ANY = 2**62
"""Elements: no limit."""

_MOVING = frozenset(
    {"Slice", "Concat", "Unsqueeze", "Squeeze", "Reshape", "Flatten", "Transpose", "Identity"}
)
"""Operators whose result holds no numbers but those that they read, and each once at most."""

_QUANTIZING = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"})


def fold_constants(model: ir.Model, fired: Counter[str]) -> None:
    """Compute constant nodes, in place; random and quantizing operators stay.

    What exporters leave around shapes goes (`Shape` of static sizes, `CastLike`, `Expand`), and
    what is computed from weights (transposed, cast or normalized ones) becomes a weight. A result
    much larger than what it comes from stays a node, and so does a transposition of a weight that
    others read as it is.
    """
    weights = {
        name: value.const_value.size
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.size > 1
    }
    before = node_count(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    LiftSubgraphInitializersToMainGraphPass()(model)
    lifted = before - node_count(model)
    fold_constants_ir(
        model, output_size_limit=_GROWTH, input_size_limit=_GROWTH, should_fold=_should_fold
    )
    if any(_moves_constants(node) for node in model.graph):
        fold_constants_ir(
            model, output_size_limit=_ANY, input_size_limit=_ANY, should_fold=_moves_constants
        )
    _split_constants(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    RemoveUnusedNodesPass()(model)
    _name_after_sources(model, weights)
    fired["constant nodes to initializers"] += lifted
    fired["constants folded"] += before - lifted - node_count(model)


def _should_fold(node: ir.Node) -> bool | None:
    """True, False, or None for upstream's own rule, which looks at the sizes of the inputs."""
    if node.op_type in RANDOM | _QUANTIZING or _turns_a_shared_weight(node):
        return False
    result = _elements(node.outputs[0])
    if result is None or len(node.outputs) > 1:
        return None
    if node.op_type == "ConstantOfShape":
        return result <= _GROWTH
    sources = [constant(value) for value in node.inputs]
    return result <= max(_GROWTH, sum(tensor.size for tensor in sources if tensor is not None))


def _moves_constants(node: ir.Node) -> bool:
    """Whether it cuts, joins or reorders weights: the result is no larger than those together.

    The gates of recurrent layers are brought in ONNX's order by dozens of such nodes.
    """
    if node.domain != "" or node.op_type not in _MOVING or _turns_a_shared_weight(node):
        return False
    read = [value for value in node.inputs if value is not None]
    return bool(read) and all(constant(value) is not None for value in read)


def _split_constants(model: ir.Model) -> None:
    """Compute every Split of a constant, of which upstream leaves nodes with several outputs."""
    for node in list(model.graph):
        source = node.inputs[0] if node.op_type == "Split" and node.domain == "" else None
        tensor = constant(source)
        sizes = constant(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
        if tensor is None or sizes is None or any(v.is_graph_output() for v in node.outputs):
            continue
        cuts = np.cumsum(sizes.numpy())[:-1]
        parts = np.split(tensor.numpy(), cuts, axis=node.attributes.get_int("axis", 0))
        for value, part in zip(node.outputs, parts, strict=True):
            name = free_name(model.graph, f"{value.name}_part")
            value.replace_all_uses_with(add_initializer(model.graph, name, part.copy()))
        model.graph.remove(node, safe=True)


def _turns_a_shared_weight(node: ir.Node) -> bool:
    """Whether folding would store a second copy, as of an embedding that is the last product too.

    Runtimes turn it round when they load the model.
    """
    source = node.inputs[0] if node.op_type == "Transpose" else None
    tensor = constant(source)
    is_large = tensor is not None and tensor.size >= _SHARED
    if not is_large or source is None:
        return False
    return len(set(source.consumers())) > 1 or LOOKED_UP in source.metadata_props


def _elements(value: ir.Value) -> int | None:
    if value.shape is None or not value.shape.is_static():
        return None
    return prod(int(size) for size in value.shape.numpy())


def _name_after_sources(model: ir.Model, weights: Mapping[str, int]) -> None:
    # `fc.weight` transposed by the exporter is called "t_3" else, and a report means little.
    for node in model.graph.all_nodes():
        for output in node.outputs:
            output.metadata_props.pop(FOLDED_FROM_KEY, None)
    for name, value in list(model.graph.initializers.items()):
        sources = value.meta.pop(FOLDED_FROM_KEY, set())
        value.metadata_props.pop(FOLDED_FROM_KEY, None)
        known = [source for source in sources if source in weights]
        if len(known) != 1 or name in weights or value.is_graph_output():
            continue
        tensor, new = value.const_value, f"{known[0]}_folded"
        # Of another size it is something else, such as zeros of the weight's type.
        same = tensor is not None and tensor.size == weights[known[0]]
        if same and new not in model.graph.initializers:
            value.name = new
