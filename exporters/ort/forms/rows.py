"""A product of sequences with a bias, as one product of rows.

    MatMul([..., tokens, K], W) + b = Reshape(Gemm([rows, K], W, b))      rows = batch · tokens

Gemm has a bias of its own, which its integer kernel adds to the sums; behind MatMul the addition is
another pass over floats. Left alone is what has more than one open size, since no constant
Reshape leads back from rows then.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from compressor.graph.emitting import Emitter, FoundNodes
from compressor.graph.matching import floats, is_float, only_reader, operands, sizes
from exporters.ort.forms.rewriting import FoundForm


@dataclass(frozen=True)
class Product(FoundNodes):
    """MatMul of x [..., tokens, inputs] with a constant matrix, and the bias behind it.

    Attributes:
        bias: A constant of the outputs' length.
        shape: Of what is written; None is the size that is open.
    """

    bias: ir.Value
    shape: list[int | None]
    operator: ClassVar[str] = "MatMul + Add"
    named: ClassVar[int] = 0


class Rows(FoundForm[Product]):
    """Gemm of rows."""

    name = "rows"
    words = "one Gemm of rows"

    def found(self, model: ir.Model) -> Iterator[Product]:
        """Of three axes and more, one of them open at most."""
        for node in model.graph:
            place = _product(node)
            if place is not None:
                yield place

    def put(self, to: Emitter, place: Product) -> None:
        """Reshape, Gemm, Reshape."""
        weight, inputs = place.nodes[0].inputs[1], (sizes(place.x) or [0])[-1]
        flat = to.weight("rows_shape", np.array([-1, inputs], np.int64))
        rows = to.emit("Reshape", [place.x, flat], [None, inputs], "rows", whole=True)
        shape = place.shape
        made = to.emit("Gemm", [rows, weight, place.bias], [None, shape[-1]], "gemm", whole=True)
        known = [-1 if size is None else size for size in shape]
        back = to.weight("shape", np.array(known, np.int64))
        to.replace(to.emit("Reshape", [made, back], shape, "sequences", whole=True))


def _product(node: ir.Node) -> Product | None:
    if node.op_type != "MatMul" or node.domain != "":
        return None
    x, matrix = node.inputs[0], floats(node.inputs[1])
    add = only_reader(node.outputs[0], "Add")
    both = None if add is None else operands(add)
    shape = sizes(x)
    if x is None or matrix is None or add is None or both is None or shape is None:
        return None
    bias = floats(both[1])
    if matrix.ndim != 2 or len(shape) < 3 or shape[:-1].count(None) > 1 or not is_float(x):
        return None
    if both[0] is not node.outputs[0] or bias is None or bias.shape != (matrix.shape[1],):
        return None
    if shape[-1] != matrix.shape[0]:
        return None
    return Product((node, add), x, add.outputs[0], both[1], [*shape[:-1], matrix.shape[1]])
