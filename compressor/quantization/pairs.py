"""Convolutions that hand a value to other convolutions, whose channels can therefore be scaled.

    W2 · f(W1 · x + b1) = (W2 · diag(s)) · f(diag(1/s) · (W1 · x + b1)),   f(k·x) = k·f(x) for k > 0

(Nagel et al. 2019, arXiv 1906.04721, section 4.1, equations 5 to 7.) Relu, LeakyRelu and PRelu are
such f; ReLU6 is not: its Clip has one bound for all channels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.scheme import FloatArray
from compressor.graph.constants import constant
from compressor.graph.initializers import FreeNames, add_initializer, names_beside
from compressor.quantization.graph import consumers
from compressor.quantization.placement import why_not_quantizable

HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "PRelu"})
"""Activations with f(k·x) = k·f(x) for every k > 0."""


@dataclass(frozen=True)
class EqualizationPair:
    """A value whose channels can be divided.

    Attributes:
        value: What the readers read.
        maker: The convolution that writes it, or what its activation reads.
        activation: The activation between the two; None where there is none.
        readers: All that read the value, convolutions with constant weights.
    """

    value: ir.Value
    maker: ir.Node
    activation: ir.Node | None
    readers: tuple[ir.Node, ...]

    @property
    def channels(self) -> int:
        """Number of the value's channels."""
        return len(weight_of(self.maker))


def find_pairs(model: ir.Model) -> dict[str, EqualizationPair]:
    """Every such value, by name, in graph order."""
    found = (pair_of(node.outputs[0]) for node in model.graph if node.outputs)
    return {pair.value.name or "": pair for pair in found if pair is not None}


def pair_of(value: ir.Value) -> EqualizationPair | None:
    """The pair around a value; None where others than convolutions write or read it."""
    made_by, activation = value.producer(), None
    if made_by is not None and made_by.op_type in HOMOGENEOUS and made_by.domain == "":
        source = made_by.inputs[0]
        if source is None or len(consumers(source)) != 1 or source.is_graph_output():
            return None
        made_by, activation = source.producer(), made_by
    readers = consumers(value)
    fits = (
        made_by is not None
        and _scalable(made_by)
        and not value.is_graph_output()
        and bool(readers)
        and all(reader.graph is made_by.graph and _scalable(reader) for reader in readers)
        and all(use.idx == 0 for use in value.uses())
    )
    return (
        EqualizationPair(value, made_by, activation, tuple(readers)) if fits and made_by else None
    )


def weight_of(node: ir.Node) -> FloatArray:
    """The constant weight of a convolution, (outputs, inputs of a group, ...)."""
    tensor = constant(node.inputs[1])
    if tensor is None:
        raise AssertionError(f"{node.name} has no constant weight")
    array: FloatArray = tensor.numpy()
    return array


def reading(node: ir.Node, divisor: FloatArray) -> FloatArray:
    """What multiplies a reader's weights where the value that it reads is divided.

    Args:
        node: A convolution.
        divisor: Divisor of each channel that it reads, (inputs,).
    """
    weight, groups = weight_of(node), node.attributes.get_int("group", 1)
    factors = np.repeat(divisor.reshape(groups, -1), len(weight) // groups, axis=0)
    return factors.reshape(*weight.shape[:2], *[1] * (weight.ndim - 2))


def writing(node: ir.Node, divisor: FloatArray) -> FloatArray:
    """What multiplies a maker's weights where the value that it writes is divided."""
    return (1.0 / divisor).reshape(-1, *[1] * (weight_of(node).ndim - 1))


def rescale(
    graph: ir.Graph, pairs: Mapping[str, EqualizationPair], divisors: Mapping[str, FloatArray]
) -> None:
    """Divide those values, in place, and let the weights behind them make up for it.

    Each convolution gets weights of its own, however many of its values are divided, rounded once.
    """
    written: dict[ir.Node, FloatArray] = {}
    factors: dict[ir.Node, FloatArray] = {}
    for name, divisor in divisors.items():
        pair, exact = pairs[name], divisor.astype(np.float64)
        written[pair.maker] = 1.0 / exact
        factors[pair.maker] = factors.get(pair.maker, np.float64(1)) * writing(pair.maker, exact)
        for reader in pair.readers:
            factors[reader] = factors.get(reader, np.float64(1)) * reading(reader, exact)
    names = names_beside(graph)
    for node, factor in factors.items():
        _replace(names, graph, node, 1, weight_of(node) * factor)
        bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
        if node in written and bias is not None:
            _replace(names, graph, node, 2, bias.numpy() * written[node])


def _replace(
    names: FreeNames, graph: ir.Graph, node: ir.Node, index: int, array: FloatArray
) -> None:
    old = node.inputs[index]
    name = names.take(f"{'bias' if old is None else old.name}_equalized")
    node.replace_input_with(index, add_initializer(graph, name, array.astype(np.float32)))


def _scalable(node: ir.Node) -> bool:
    return node.op_type == "Conv" and node.domain == "" and why_not_quantizable(node) is None
