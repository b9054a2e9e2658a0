"""Matrices in blocks of integers by the standard operator, for compilers that fuse it.

    w ≈ DequantizeLinear(q, s; axis, block_size),   q in [-8, 7] or [-128, 127]

Each block has one scale s. The blocks run along the inputs of a product, and none is broken (ONNX
operator specification, DequantizeLinear 21). What reads the matrix stays as it is.
"""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.initializers import add_initializer, free_name
from compressor.graph.invariants import check
from compressor.quantization.blocks import BlockFormat, Packed, codes_of
from compressor.quantization.matrices import ConstantMatrix
from compressor.quantization.storing import planned_matrices

OPSET = 21
"""The first whose DequantizeLinear knows blocks and 4 bits."""
TYPES = {4: np.dtype(ml_dtypes.int4), 8: np.dtype(np.int8)}


def dequantizing(
    model: ir.Model, forms: Mapping[str, BlockFormat], packed: Mapping[str, Packed]
) -> ir.Model:
    """The graph with those matrices in blocks; `model` stays as it is.

    Args:
        model: The float graph, of opset 21 or later.
        forms: Initializer → how it is stored: 4 or 8 bits without zero points.
        packed: Initializer → its integers and scales.

    Raises:
        RecipeError: A matrix is not in this graph or of another shape, or the opset is too low.
    """
    opset = model.opset_imports.get("", 0)
    if forms and opset < OPSET:
        raise RecipeError(
            f"blocks of integers need opset {OPSET}, the model has {opset}",
            hint="Export it anew with that opset, or store weights in another way.",
        )
    clone = model.clone()
    for matrix, stored, form in planned_matrices(clone, forms, packed, _fits):
        _replace(clone.graph, matrix, stored, form)
    check(clone, "store weights in blocks")
    return clone


def _fits(matrix: ConstantMatrix, stored: Packed, form: BlockFormat) -> bool:
    outputs, inputs = matrix.shape
    whole = form.bits in TYPES and form.symmetric and inputs % form.block == 0
    return whole and stored.scales.shape == (outputs, inputs // form.block)


def _replace(graph: ir.Graph, matrix: ConstantMatrix, stored: Packed, form: BlockFormat) -> None:
    signed = (codes_of(stored, form).astype("int16") - form.middle).astype("int8")
    scales, axis = stored.scales, 1
    if matrix.stored_transposed:
        signed, scales, axis = signed.T, scales.T, 0
    value = matrix.value
    whole = add_initializer(
        graph, free_name(graph, f"{matrix.name}_codes"), signed.astype(TYPES[form.bits])
    )
    scale = add_initializer(graph, free_name(graph, f"{matrix.name}_scales"), scales.copy())
    attributes = {"axis": axis, "block_size": form.block}
    node = ir.node("DequantizeLinear", [whole, scale], attributes)
    node.name = free_name(graph, f"{matrix.name}_dequantized")
    result = node.outputs[0]
    result.name, result.shape, result.dtype = node.name, value.shape, ir.DataType.FLOAT
    value.replace_all_uses_with(result)
    del graph.initializers[matrix.name]
    graph.insert_before(graph[0], [node])
