"""RMSNorm in the one order of operators that the runtime fuses.

    y = γ · x / √(mean(x²) + ε)       over the last axis

(Zhang and Sennrich 2019, arXiv 1910.07467, equation 4.) Written as Pow, ReduceMean, Add, Sqrt, Div
and Mul it becomes one kernel. With the reciprocal of the root, as torch exports it, with the mean
as a pool, or without γ it stays six passes, one of a kernel each. All operators are standard.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from compressor.graph.emitting import Emitter, FoundNodes
from compressor.graph.matching import (
    floats,
    is_close,
    is_closed,
    is_float,
    number,
    only_reader,
    operands,
    producer,
    reduced_axes,
    sizes,
)
from exporters.ort.forms.group_norm import divided, exponent
from exporters.ort.forms.rewriting import FoundForm


@dataclass(frozen=True)
class Rms(FoundNodes):
    """A norm of x [..., width] by the root of the mean square.

    Attributes:
        epsilon: What is added to the mean.
        scale: γ, [width].
    """

    epsilon: float
    scale: npt.NDArray[np.float32]
    operator: ClassVar[str] = "RMSNorm"


class RmsNorm(FoundForm[Rms]):
    """In the order that is fused."""

    name = "rms-norm"
    words = "RMSNorm by a Div, which is fused"
    computes = "floats"

    def found(self, model: ir.Model) -> Iterator[Rms]:
        """Those that are not fused as they stand."""
        for node in model.graph:
            place = _rms(node)
            if place is not None:
                yield place

    def put(self, to: Emitter, place: Rms) -> None:
        """Six operators."""
        shape = sizes(place.x) or []
        ones = [*shape[:-1], 1]
        two = to.weight("two", np.array(2, np.float32))
        axes = to.weight("axes", np.array([-1], np.int64))
        epsilon = to.weight("epsilon", np.array(place.epsilon, np.float32))
        square = to.emit("Pow", [place.x, two], shape, whole=True)
        mean = to.emit("ReduceMean", [square, axes], ones, whole=True, keepdims=1)
        shifted = to.emit("Add", [mean, epsilon], ones, whole=True)
        root = to.emit("Sqrt", [shifted], ones, whole=True)
        normed = to.emit("Div", [place.x, root], shape, whole=True)
        scale = to.weight("scale", place.scale)
        to.replace(to.emit("Mul", [normed, scale], shape, whole=True))


def _rms(node: ir.Node) -> Rms | None:
    found = divided(node)
    if found is None:
        return None
    x, root, between = found
    shifted = producer(root.inputs[0], "Add")
    terms = None if shifted is None else operands(shifted)
    shape = sizes(x)
    if shifted is None or terms is None or shape is None or len(shape) < 2 or not is_float(x):
        return None
    epsilon, mean = number(terms[1]), _mean(terms[0], len(shape))
    square = None if mean is None else _square(mean.inputs[0], x)
    width, opset = shape[-1], _opset(node)
    if epsilon is None or mean is None or square is None or width is None or opset < 18:
        return None
    scaled = _scaled(node, width)
    if scaled is not None and not between and mean.op_type == "ReduceMean":
        return None  # it is fused as it stands
    behind, scale = scaled or ((), np.ones(width, np.float32))
    nodes = (square, mean, shifted, root, *between, node, *behind)
    if not is_closed(nodes):
        return None
    return Rms(nodes, x, nodes[-1].outputs[0], epsilon, scale)


def _opset(node: ir.Node) -> int:
    graph = node.graph
    return graph.opset_imports.get("", 0) if isinstance(graph, ir.Graph) else 0


def _mean(value: ir.Value, rank: int) -> ir.Node | None:
    """What writes the mean over the last axis."""
    pool = producer(value, "GlobalAveragePool")
    if pool is not None:
        return pool if rank == 3 else None
    mean = producer(value, "ReduceMean")
    return mean if mean is not None and reduced_axes(mean, rank) == [rank - 1] else None


def _square(value: ir.Value | None, x: ir.Value) -> ir.Node | None:
    square = producer(value, "Mul") or producer(value, "Pow")
    if square is None or square.inputs[0] is not x:
        return None
    if square.op_type == "Pow":
        return square if is_close(exponent(square.inputs[1]), 2.0) else None
    return square if square.inputs[1] is x else None


def _scaled(
    node: ir.Node, width: int
) -> tuple[tuple[ir.Node, ...], npt.NDArray[np.float32]] | None:
    """The Mul behind it, and γ."""
    mul = only_reader(node.outputs[0], "Mul")
    both = None if mul is None else operands(mul)
    scale = None if both is None else floats(both[1])
    if mul is None or both is None or both[0] is not node.outputs[0] or scale is None:
        return None
    return ((mul,), scale) if scale.shape == (width,) else None
