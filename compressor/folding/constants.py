"""What depends on constants alone is computed once."""

from collections import Counter
from collections.abc import Mapping
from math import prod

import onnx_ir as ir
from onnx_ir.passes.common import (
    LiftConstantsToInitializersPass,
    LiftSubgraphInitializersToMainGraphPass,
    RemoveUnusedNodesPass,
)
from onnxscript.optimizer import FOLDED_FROM_KEY, fold_constants_ir

from compressor.folding.affine import constant

_GROWTH = 2**16
"""Elements up to which a result may be larger than the constants it is computed from."""

_SHARED = 1024
"""Elements from which a weight that other nodes read too is not stored once more, transposed."""

RANDOM = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Multinomial", "Bernoulli"),
    }
)
"""Operators that give a different result at every run."""

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
    before = _size(model)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    LiftSubgraphInitializersToMainGraphPass()(model)
    lifted = before - _size(model)
    fold_constants_ir(
        model, output_size_limit=_GROWTH, input_size_limit=_GROWTH, should_fold=_should_fold
    )
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    RemoveUnusedNodesPass()(model)
    _name_after_sources(model, weights)
    fired["constant nodes to initializers"] += lifted
    fired["constants folded"] += before - lifted - _size(model)


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


def _turns_a_shared_weight(node: ir.Node) -> bool:
    """Whether folding would store a second copy, as of an embedding that is the last product too.

    Runtimes turn it round when they load the model.
    """
    source = node.inputs[0] if node.op_type == "Transpose" else None
    tensor = None if source is None else constant(source)
    is_large = tensor is not None and tensor.size >= _SHARED
    return is_large and source is not None and len(set(source.consumers())) > 1


def _elements(value: ir.Value) -> int | None:
    if value.shape is None or not value.shape.is_static():
        return None
    return prod(int(size) for size in value.shape.numpy())


def _size(model: ir.Model) -> int:
    return sum(1 for _ in model.graph.all_nodes())


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
