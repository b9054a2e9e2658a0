"""What a user should know of a graph that was captured: that it is quantized, that weights are NaN.

Neither ends a run. What is integer stays as it is, and layers whose weights are no numbers stay
float; but neither is what most who see such a result have in mind.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.graph.tensors import Array

_QUANTIZED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}
    | {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "QGemm", "QMoE"}
    | {"QAttention", "QEmbedLayerNormalization", "MatMulNBits", "MatMulBnb4", "MatMulFpQ4"}
    | {"GatherBlockQuantized", "ConvTransposeInteger"}
)
"""Operators of graphs that somebody quantized; those that begin with QLinear are some, too."""
_LISTED = 3
"""Names that a notice lists."""


def peculiarities(model: ir.Model) -> Iterator[str]:
    """Notices about a graph as it came."""
    found = Counter(node.op_type for node in model.graph.all_nodes() if _is_quantized(node))
    if found:
        told = ", ".join(f"{count} {operator}" for operator, count in found.most_common(_LISTED))
        yield (
            f"the model is quantized already ({told}). Integer layers stay as they are, only float "
            "layers may still change. Quality is measured against the model as it is; give the "
            "float model for a comparison with that"
        )
    yield from graph_not_finite(model)


def module_not_finite(module: Any) -> Iterator[str]:
    """The notice about the weights of a torch module, before anything is computed with them."""
    odd = []
    for name, tensor in module.state_dict().items():
        if not getattr(tensor, "is_floating_point", bool)() or tensor.numel() < 2:
            continue
        if tensor.isnan().any():
            odd.append(f"{name!r} holds {int(tensor.isnan().sum()):,} NaN")
    yield from _told(odd)


def graph_not_finite(model: ir.Model) -> Iterator[str]:
    """The notice about the weights of a graph."""
    for initializers in (graph.initializers.values() for graph in model.graphs()):
        yield from _not_finite(initializers)


def _is_quantized(node: ir.Node) -> bool:
    return node.op_type in _QUANTIZED or node.op_type.startswith("QLinear")


def _not_finite(values: Iterable[ir.Value]) -> Iterator[str]:
    odd: list[str] = []
    for value in values:
        tensor = value.const_value
        if tensor is None or tensor.dtype not in (ir.DataType.FLOAT, ir.DataType.DOUBLE):
            continue
        if tensor.size > 1 and (what := _odd_numbers(tensor.numpy())) is not None:
            odd.append(f"{value.name!r} holds {what}")
    yield from _told(odd)


def _told(odd: list[str]) -> Iterator[str]:
    if odd:
        more = f", and {len(odd) - _LISTED} more do" if len(odd) > _LISTED else ""
        yield (
            f"weights are not finite: {', '.join(odd[:_LISTED])}{more}: such layers stay float; "
            "check the checkpoint"
        )


def _odd_numbers(array: Array) -> str | None:
    """What of a weight is no number; None where all is finite, or it is a mask of infinities."""
    low, high = float(array.min()), float(array.max())  # they carry NaN, and need no large array
    if np.isfinite(low) and np.isfinite(high):
        return None
    nans = int(np.isnan(array).sum())
    if nans:
        return f"{nans:,} NaN"
    finite = array[np.isfinite(array)]
    is_mask = finite.size == 0 or float(finite.min()) == float(finite.max())
    return None if is_mask else f"{array.size - finite.size:,} infinities"
