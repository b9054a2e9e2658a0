"""Norms of groups of channels, in the form whose kernel is fastest.

    y = (x - mean) / √(variance + ε)      over all axes behind the groups

(Wu and He 2018, arXiv 1803.08494, equation 1.) That is InstanceNormalization of [batch, groups,
positions...], which has a kernel. GroupNormalization is a function of 29 nodes in the runtime, and
written by hand it is a pass over the image for each operator:

- GroupNormalization (opset 18: γ and β of groups; 21: of channels): a Reshape to groups,
  InstanceNormalization, a Reshape back, and γ and β in one pass (`affine`).
- (x - m) / √(v + ε), or times the reciprocal of the root, with m = ReduceMean(x) and
  v = ReduceMean((x - m)²): InstanceNormalization.

Left alone are variances with Bessel's correction, ε outside of the root, and axes other than all
from the third on: what is over the last axis alone of two is LayerNormalization, which the runtime
fuses.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.graph.emitting import Emitter, FoundNodes, reshaped
from compressor.graph.matching import (
    floats,
    is_close,
    is_closed,
    is_float,
    number,
    operands,
    producer,
    reduced_axes,
    sizes,
)
from exporters.ort.forms.affine import Row, affine
from exporters.ort.forms.rewriting import FoundForm


@dataclass(frozen=True)
class Norm(FoundNodes):
    """A norm of groups.

    Attributes:
        groups: The size of axis 1 while it is computed.
        epsilon: What is added to the variance.
        affine: γ and β, [channels]; None where they stand behind it.
    """

    groups: int
    epsilon: float
    affine: tuple[Row, Row] | None

    @property
    def operator(self) -> str:
        """What it is, for people."""
        return "GroupNormalization" if self.affine else "a norm written by hand"


class InstanceNorm(FoundForm[Norm]):
    """InstanceNormalization of groups."""

    name = "instance-norm"
    words = "InstanceNormalization of groups"
    computes = "floats"

    def found(self, model: ir.Model) -> Iterator[Norm]:
        """Wherever groups and channels are known."""
        for node in model.graph:
            place = _operator(node) or _by_hand(node)
            if place is not None:
                yield place

    def put(self, to: Emitter, place: Norm) -> None:
        """InstanceNormalization, between Reshapes where the groups are no axis yet."""
        x, shape = place.x, sizes(place.x) or []
        if place.affine is not None:
            x = reshaped(to, x, [place.groups, -1], "groups")
        ones = to.weight("ones", np.ones(place.groups, np.float32))
        zeros = to.weight("zeros", np.zeros(place.groups, np.float32))
        made = to.emit(
            "InstanceNormalization", [x, ones, zeros], sizes(x) or [], "norm",
            whole=True, epsilon=place.epsilon,
        )  # fmt: skip
        if place.affine is not None:
            known = [-1 if size is None else size for size in shape[1:]]
            made = affine(to, reshaped(to, made, known, "channels"), *place.affine)
        to.replace(made)


def _operator(node: ir.Node) -> Norm | None:
    if node.op_type != "GroupNormalization" or node.domain != "":
        return None
    x, groups = node.inputs[0], node.attributes.get_int("num_groups", 0)
    shape = sizes(x)
    scale, shift = floats(node.inputs[1]), floats(node.inputs[2])
    if x is None or shape is None or not is_float(x) or scale is None or shift is None:
        return None
    channels = shape[1]
    if channels is None or not groups or channels % groups or shape[1:].count(None) > 1:
        return None
    if {scale.size, shift.size} not in ({groups}, {channels}):
        return None
    rows = tuple(np.repeat(row.reshape(-1), channels // row.size) for row in (scale, shift))
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    return Norm((node,), x, node.outputs[0], groups, epsilon, (rows[0], rows[1]))


def _by_hand(node: ir.Node) -> Norm | None:
    """(x - m) / √(v + ε)."""
    found = divided(node)
    if found is None:
        return None
    centred, root, between = found
    shifted = producer(root.inputs[0], "Add")
    terms = None if shifted is None else operands(shifted)
    subtract = producer(centred, "Sub")
    if shifted is None or terms is None or subtract is None:
        return None
    epsilon, variance = number(terms[1]), producer(terms[0], "ReduceMean")
    x, mean = subtract.inputs[0], producer(subtract.inputs[1], "ReduceMean")
    shape = sizes(x)
    if x is None or shape is None or epsilon is None or variance is None or mean is None:
        return None
    squares = _squares(variance.inputs[0], x)
    behind = list(range(2, len(shape)))
    if squares is None or len(shape) < 3 or shape[1] is None or not is_float(x):
        return None
    means = [mean, *(one for one in squares if one.op_type == "ReduceMean")]
    if any(one.inputs[0] is not x for one in means):
        return None
    if any(reduced_axes(one, len(shape)) != behind for one in (variance, *means)):
        return None
    nodes = dict.fromkeys([mean, subtract, *squares, variance, shifted, root, *between, node])
    order = sorted(nodes, key=_Position(node))
    if not is_closed(order):
        return None
    return Norm(tuple(order), x, node.outputs[0], shape[1], epsilon, None)


def divided(node: ir.Node) -> tuple[ir.Value, ir.Node, tuple[ir.Node, ...]] | None:
    """The numerator, the root, and what stands between the root and the product."""
    if node.domain != "" or len(node.inputs) != 2:
        return None
    a, b = node.inputs
    if a is None or b is None:
        return None
    if node.op_type == "Div":
        root = producer(b, "Sqrt")
        return None if root is None else (a, root, ())
    if node.op_type != "Mul":
        return None
    for centred, factor in ((a, b), (b, a)):
        over = producer(factor, "Reciprocal") or _one_over(factor)
        root = None if over is None else producer(over.inputs[-1], "Sqrt")
        if over is not None and root is not None:
            return centred, root, (over,)
    return None


def _one_over(value: ir.Value) -> ir.Node | None:
    over = producer(value, "Div")
    return over if over is not None and is_close(number(over.inputs[0]), 1.0) else None


def _squares(value: ir.Value | None, x: ir.Value) -> tuple[ir.Node, ...] | None:
    """The nodes that compute (x - m)², m included."""
    square = producer(value, "Mul") or producer(value, "Pow")
    if square is None:
        return None
    base = square.inputs[0]
    twice = square.inputs[1] is base
    if square.op_type == "Pow":
        twice = is_close(exponent(square.inputs[1]), 2.0)
    subtract = producer(base, "Sub")
    if not twice or subtract is None or subtract.inputs[0] is not x:
        return None
    mean = producer(subtract.inputs[1], "ReduceMean")
    return None if mean is None else (mean, subtract, square)


def exponent(value: ir.Value | None) -> float | None:
    """The constant that a Pow raises to, of whatever type."""
    found = number(value)
    if found is None and value is not None and value.const_value is not None:
        array = value.const_value.numpy()
        found = float(array.reshape(())) if array.size == 1 else None
    return found


class _Position:
    """The position of nodes in the graph of one of them."""

    def __init__(self, node: ir.Node) -> None:
        graph = node.graph
        assert graph is not None, "it is a node of a graph"
        self._of = {one: index for index, one in enumerate(graph)}

    def __call__(self, node: ir.Node) -> int:
        return self._of[node]
