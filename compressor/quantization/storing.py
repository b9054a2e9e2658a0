"""Rewrites products and look-ups so that they read their matrix in blocks of integers.

    MatMul, Gemm → com.microsoft.MatMulNBits        Gather → com.microsoft.GatherBlockQuantized

Nodes and what they write keep their names. A matrix with several readers is stored once; a look-up
sees it through a Reshape, which the runtime computes when it loads the model.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from compressor.errors import RecipeError
from compressor.graph.constants import constant
from compressor.graph.initializers import FreeNames, add_initializer, taken_names
from compressor.graph.invariants import check
from compressor.graph.tensors import Array
from compressor.quantization.blocks import BlockFormat, Packed
from compressor.quantization.matrices import ConstantMatrix, find_matrices

DOMAIN = "com.microsoft"

Fits = Callable[[ConstantMatrix, Packed, BlockFormat], bool]
"""Whether a matrix can be stored in a form with these integers."""


def store(
    model: ir.Model,
    forms: Mapping[str, BlockFormat],
    packed: Mapping[str, Packed],
    *,
    accuracy_level: int,
) -> ir.Model:
    """The graph with those matrices in blocks; `model` stays as it is.

    Args:
        model: The float graph.
        forms: Initializer → how it is stored.
        packed: Initializer → its integers, scales and zero points.
        accuracy_level: MatMulNBits's: 4 rounds activations to 8 bits, block by block, and
            multiplies integers; 1 multiplies in float32.

    Raises:
        RecipeError: A matrix is not in this graph, or of another shape.
    """
    clone = model.clone()
    for matrix, stored, form in planned_matrices(clone, forms, packed, _fits):
        _Storing(clone.graph, matrix, stored, form, accuracy_level).run()
    clone.opset_imports.setdefault(DOMAIN, 1)
    RemoveUnusedNodesPass()(clone)
    check(clone, "store weights in blocks")
    return clone


def planned_matrices(
    model: ir.Model,
    forms: Mapping[str, BlockFormat],
    packed: Mapping[str, Packed],
    fits: Fits,
) -> Iterator[tuple[ConstantMatrix, Packed, BlockFormat]]:
    """Each matrix that a plan stores in blocks, with its integers and its form, in plan order.

    Args:
        model: The graph.
        forms: Initializer → how it is stored.
        packed: Initializer → what is stored.
        fits: Whether a matrix can be stored so.

    Raises:
        RecipeError: A matrix is not in this graph, or what is stored does not fit it.
    """
    matrices = {matrix.name: matrix for matrix in find_matrices(model)[0]}
    for name, form in forms.items():
        matrix, stored = matrices.get(name), packed.get(name)
        if matrix is None or stored is None or not fits(matrix, stored, form):
            raise RecipeError(
                f"the plan does not fit the graph: {name!r} is not the matrix that it stores",
                hint="Replay a plan with the model and the options that it was made with.",
            )
        yield matrix, stored, form


def bias_of(node: ir.Node, outputs: int) -> Array | str | None:
    """The bias of a product as (n,); None where it has none; else why it cannot be stored."""
    if node.op_type != "Gemm" or len(node.inputs) < 3 or node.inputs[2] is None:
        return None
    tensor = constant(node.inputs[2])
    if tensor is None or tensor.size not in (1, outputs):
        return "its bias is not one constant for each output"
    array = tensor.numpy()
    if array.ndim > 1 and array.shape[-1] != array.size:
        return "its bias is not one constant for each output"
    return np.broadcast_to(array.reshape(-1), (outputs,)).astype(np.float32)


def _fits(matrix: ConstantMatrix, stored: Packed, form: BlockFormat) -> bool:
    outputs, inputs = matrix.shape
    blocks = form.blocks(inputs)
    return (
        stored.scales.shape == (outputs, blocks)
        and stored.codes.shape == (outputs, blocks, form.block * form.bits // 8)
        and (stored.zeros is None) == form.symmetric
    )


class _Storing:
    """The rewriting of one matrix and its readers."""

    def __init__(
        self,
        graph: ir.Graph,
        matrix: ConstantMatrix,
        stored: Packed,
        form: BlockFormat,
        accuracy_level: int,
    ) -> None:
        self._graph, self._matrix, self._form = graph, matrix, form
        self._accuracy_level = accuracy_level
        nodes = (node.name for node in graph.all_nodes())
        self._names = FreeNames((*taken_names(graph), *nodes), first=1)
        self._codes = self._constant("codes", stored.codes)
        self._scales = self._constant("scales", stored.scales)
        self._zeros = None if stored.zeros is None else self._constant("zeros", stored.zeros)
        self._table: ir.Value | None = None

    def run(self) -> None:
        """Replace every reader."""
        for reader in self._matrix.readers:
            node = reader.node
            made = self._look_up(node) if reader.looks_up else self._product(node)
            old = node.outputs[0]
            where = node.graph
            assert isinstance(where, ir.Graph), "a reader is in the graph or in a body"
            ir.convenience.replace_nodes_and_values(
                where, node, [node], [made], [old], [made.outputs[0]]
            )
            made.name = node.name

    def _product(self, node: ir.Node) -> ir.Node:
        outputs, inputs = self._matrix.shape
        operands = [node.inputs[0], self._codes, self._scales, self._zeros]
        bias = bias_of(node, outputs)
        if bias is not None:
            assert not isinstance(bias, str), "such matrices are not chosen"
            operands += [None, self._constant("bias", bias, node.name or "")]
        while operands[-1] is None:
            operands.pop()
        sizes = {"K": inputs, "N": outputs, "bits": self._form.bits}
        return self._node(
            "MatMulNBits",
            operands,
            node,
            **sizes,
            block_size=self._form.block,
            accuracy_level=self._accuracy_level,
        )

    def _look_up(self, node: ir.Node) -> ir.Node:
        rows, _ = self._matrix.shape
        if self._table is None:
            shape = self._constant("shape", np.array([rows, -1], np.int64))
            flat = ir.node("Reshape", [self._codes, shape], name=self._names.take("table"))
            self._table = flat.outputs[0]
            self._table.name = self._names.take("rows")
            self._table.dtype = ir.DataType.UINT8
            self._graph.insert_before(self._graph[0], flat)
        operands = [self._table, node.inputs[1], self._scales]
        operands += [] if self._zeros is None else [self._zeros]
        return self._node(
            "GatherBlockQuantized",
            operands,
            node,
            bits=self._form.bits,
            block_size=self._form.block,
            gather_axis=0,
            quantize_axis=1,
        )

    def _node(
        self, operator: str, inputs: list[ir.Value | None], old: ir.Node, **attributes: Any
    ) -> ir.Node:
        return ir.node(
            operator, inputs, attributes, domain=DOMAIN, name=self._names.take(old.name or operator)
        )

    def _constant(self, what: str, array: Array, owner: str | None = None) -> ir.Value:
        name = self._names.take(f"{owner or self._matrix.name}_{what}")
        return add_initializer(self._graph, name, array)
