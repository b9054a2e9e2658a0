"""Which numbers of a graph are trained: told by what reads them, never by their type.

Scales of Resize and masks of attention are floats, too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from compressor.graph.constants import is_stored, stored_array

WEIGHTS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (0, 1, 2),
    "MatMul": (0, 1),
    "Einsum": (0, 1),
    "FusedMatMul": (0, 1),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,),
    "SkipLayerNormalization": (2, 3, 4),
    "SkipSimplifiedLayerNormalization": (2, 3),
    "BiasGelu": (1,),
    "FastGelu": (1,),
    "PRelu": (1,),
    "MatMulNBits": (1, 5),
    "LSTM": (1, 2, 3, 7),
    "GRU": (1, 2, 3),
    "RNN": (1, 2, 3),
}
"""Operator → its inputs that are weights, where they are stored."""
VECTORS = ("Add", "Mul")
"""Operators whose stored vectors are biases and factors of channels."""
TABLES = ("Gather",)
"""Operators that read rows of embeddings."""
_REARRANGES = ("Transpose", "Reshape", "Identity", "Squeeze", "Unsqueeze")
_PASSES = ("DequantizeLinear", "QuantizeLinear", *_REARRANGES)


@dataclass(frozen=True)
class Trained:
    """What is trained of a graph.

    Attributes:
        names: Of initializers, in the order of the graph.
        frozen: Initializer → why it is not, of those that are weights.
    """

    names: tuple[str, ...]
    frozen: dict[str, str]


def find_trained(
    model: ir.Model, *, embeddings: bool = False, leave: tuple[str, ...] = ()
) -> Trained:
    """The weights that gradients change.

    Args:
        model: A graph, float or with Q/DQ.
        embeddings: Whether tables of embeddings are.
        leave: Patterns of names of initializers, or of nodes that read them, that stay.
    """
    names, frozen = list[str](), dict[str, str]()
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            if not is_stored(value):
                continue
            roles = set(_roles(value))
            if "weight" not in roles and "table" not in roles:
                continue
            if _is_left(value, leave):
                frozen[name] = "it was to be left"
            elif "weight" not in roles and not embeddings:
                frozen[name] = "tables of embeddings stay ([train] embeddings)"
            else:
                names.append(name)
    return Trained(tuple(names), frozen)


def _roles(value: ir.Value) -> Iterator[str]:
    """What its readers take it for, behind what only rearranges or dequantizes it."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        for node, index in one.uses():
            if node.op_type in _PASSES and index == 0:
                waiting += node.outputs
            elif index in WEIGHTS.get(node.op_type, ()) or _is_of_channels(node, index, value):
                yield "weight"
            elif node.op_type in TABLES and index == 0 and _is_table(value):
                yield "table"


def _is_of_channels(node: ir.Node, index: int, value: ir.Value) -> bool:
    """Whether it is a bias or a factor of channels."""
    return node.op_type in VECTORS and _is_vector(value) and not _meets_input(node, index)


def _is_vector(value: ir.Value) -> bool:
    """Whether it is one number a channel, all of them finite."""
    array = stored_array(value)
    wide = sum(size > 1 for size in array.shape)
    return array.dtype.kind == "f" and wide == 1 and bool(np.isfinite(array).all())


def _is_table(value: ir.Value) -> bool:
    array = stored_array(value)
    return array.ndim == 2 and array.dtype.kind == "f"


def _meets_input(node: ir.Node, index: int) -> bool:
    """Whether it only prepares what is fed: a mean or a scale of pixels is no weight."""
    other = node.inputs[1 - index] if len(node.inputs) == 2 else None
    return other is not None and other.is_graph_input()


def _is_left(value: ir.Value, patterns: tuple[str, ...]) -> bool:
    names = [value.name or "", *(node.name or "" for node, _ in value.uses())]
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)
