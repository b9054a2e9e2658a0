"""The oracle: the smaller graph equals the original with the dropped contributions zeroed.

For any keep-set, whatever the weights are, before any repair. It is true of a right grouping only:
a wrong join pairs kept positions with others, a dropped position that counts in a norm or a
maximum shows in every kept one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from compressor.errors import PruningError
from compressor.graph.initializers import add_initializer
from compressor.graph.session import open_session
from compressor.graph.shapes import infer_shapes
from compressor.graph.tensors import Arrays
from compressor.pruning.coupling.canonical import canonical
from compressor.pruning.coupling.cutting import Mask
from compressor.pruning.coupling.groups import Grouping, Keep
from compressor.pruning.coupling.rules import rule_of
from compressor.pruning.coupling.surgery import cut, masks

TOLERANCE = 1e-4
"""Largest difference relative to the largest magnitude of a value; rounding makes about 1e-5."""

HALF_TOLERANCE = 2e-2
"""The tolerance for a model with weights of half precision."""

_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def masked(model: ir.Model, grouping: Grouping, keep: Keep) -> ir.Model:
    """The original, whose dropped positions are multiplied by zero wherever they are summed over.

    Args:
        model: The model that the grouping was found in; stays as it is.
        grouping: Its groups.
        keep: What stays of each group.

    Raises:
        PruningError: The keep-set does not fit the groups.
    """
    dropped = masks(grouping, keep)
    result = infer_shapes(canonical(model))  # a mask is of the type of what it is laid over
    made: dict[str, ir.Value] = {}
    for node in list(result.graph):
        rule = rule_of(node)
        if rule is None or not rule.contracts:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or value.is_initializer():
                continue
            name = value.name or ""
            axes = [axis for v, axis in dropped if v == name]
            if not axes:
                continue
            if name not in made:
                rank, these = len(grouping.shapes[name]), {a: dropped[name, a] for a in axes}
                made[name] = _zeroed(result.graph, node, value, rank, these)
            node.replace_input_with(index, made[name])
    return result


def _zeroed(
    graph: ir.Graph, before: ir.Node, value: ir.Value, rank: int, dropped: Mapping[int, Mask]
) -> ir.Value:
    for axis, mask in dropped.items():
        shape = [1] * rank
        shape[axis] = mask.size
        dtype = np.float32 if value.dtype is None else value.dtype.numpy()
        name = f"{value.name} kept on {axis}"
        factor = add_initializer(graph, name, mask.astype(dtype).reshape(shape))
        node = ir.node("Mul", [value, factor], name=f"zero {name}")
        node.outputs[0].name = f"{value.name} without {axis}"
        graph.insert_before(before, node)
        value = node.outputs[0]
    return value


def check(model: ir.Model, grouping: Grouping, keep: Keep, feeds: Arrays) -> None:
    """Run both and compare.

    Args:
        model: The model that the grouping was found in; stays as it is.
        grouping: Its groups.
        keep: What stays of each group.
        feeds: Inputs to run on.

    Raises:
        PruningError: They differ; names the first node that does.
        GraphError: The cut graph is broken, or the runtime refuses it.
    """
    reference, smaller = masked(model, grouping, keep), cut(model, grouping, keep)
    outputs = [value.name or "" for value in model.graph.outputs]
    expected, found = (_run(m, outputs, feeds) for m in (reference, smaller))
    floating = [i for i, array in enumerate(expected) if _is_floating(array)]
    gaps = [_gap(expected[i], found[i]) for i in floating or range(len(outputs))]
    weights = [value.const_value for value in model.graph.initializers.values()]
    half = any(tensor is not None and tensor.dtype in _HALF for tensor in weights)
    tolerance = HALF_TOLERANCE if half else TOLERANCE
    if all(gap <= tolerance for gap in gaps):
        return
    where = _first(reference, smaller, masks(grouping, keep), feeds, tolerance)
    raise PruningError(
        f"the pruned graph differs from the original with the same contributions zeroed by "
        f"{max(gaps):.2g} relative to its largest output, first at {where}",
        hint="This is a defect of the pruning rules: please report the operator.",
    )


def _first(
    reference: ir.Model,
    smaller: ir.Model,
    kept: Mapping[tuple[str, int], Mask],
    feeds: Arrays,
    tolerance: float,
) -> str:
    """The first node whose output differs at the kept positions."""
    there = {value.name for node in smaller.graph for value in node.outputs if value.type}
    nodes = [
        (node, value.name)
        for node in reference.graph
        for value in node.outputs
        if value.name in there and value.name and isinstance(value.type, ir.TensorType)
    ]
    names = [name for _, name in nodes]
    both = [_run(_exposed(m, names), names, feeds) for m in (reference, smaller)]
    for (node, name), expected, found in zip(nodes, *both, strict=True):
        if _gap(_restricted(expected, name, kept), found) > tolerance:
            return f"node {node.name!r} ({node.op_type})"
    return "no node that both have"


def _restricted(array: Any, name: str, kept: Mapping[tuple[str, int], Mask]) -> Any:
    for axis in range(np.ndim(array)):
        if (name, axis) in kept:
            array = np.compress(kept[name, axis], array, axis)
    return array


def _exposed(model: ir.Model, names: Sequence[str]) -> ir.Model:
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    copy.graph.outputs[:] = [values[name] for name in names]
    return copy


def _run(model: ir.Model, names: Sequence[str], feeds: Arrays) -> Sequence[Any]:
    session = open_session(model, optimize=False)
    results: Sequence[Any] = session.run(list(names), dict(feeds))
    return results


def _is_floating(array: Any) -> bool:
    return np.issubdtype(np.asarray(array).dtype, np.floating)


def _gap(expected: Any, found: Any) -> float:
    """Largest difference relative to the largest magnitude; infinite where shapes differ."""
    a, b = np.asarray(expected), np.asarray(found)
    if a.shape != b.shape:
        return np.inf
    if a.size == 0 or a.dtype.kind not in "fiub":
        return 0.0 if np.array_equal(a, b) else np.inf
    p, q = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(p)
    if not np.array_equal(p[~finite], q[~finite], equal_nan=True):
        return np.inf
    largest = float(np.abs(p[finite]).max(initial=0.0))
    gap = float(np.abs(p[finite] - q[finite]).max(initial=0.0))
    return 0.0 if gap == 0 else gap / max(largest, float(np.finfo(np.float32).tiny))
