"""Whether a graph draws random numbers: two runs of it on the same inputs then differ."""

import onnx_ir as ir

from compressor.graph.constants import constant

RANDOM = frozenset(
    {
        *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
        *("Multinomial", "Bernoulli"),
    }
)
"""Operators that draw at every run, whatever their inputs."""
_TRAINING = 2
"""The input of Dropout that says whether it drops."""


FOLLOWS = "compressor.noise"
"""Metadata of an input that stands for noise of the size of a value of the graph."""


def follows(value: ir.Value) -> bool:
    """Whether an input stands for noise that has the size of what it is added to or masks."""
    return FOLLOWS in value.metadata_props


def drawing_nodes(model: ir.Model) -> tuple[str, ...]:
    """The operators that draw, in bodies and functions too; empty for what is deterministic."""
    nodes = [*model.graph.all_nodes()]
    for function in model.functions.values():
        nodes += function.all_nodes()
    return tuple(dict.fromkeys(node.op_type for node in nodes if draws(node)))


def draws(node: ir.Node) -> bool:
    """Whether a node draws: by its operator, or as a Dropout that drops."""
    if node.domain != "":
        return False
    if node.op_type != "Dropout" or len(node.inputs) <= _TRAINING:
        return node.op_type in RANDOM
    training = node.inputs[_TRAINING]
    tensor = constant(training)
    return training is not None and (tensor is None or bool(tensor.numpy().any()))
