"""Equal constants become one."""

from collections import Counter, defaultdict

import onnx_ir as ir

from compressor.graph.fingerprint import tensor_digest


def merge_equal_initializers(model: ir.Model, fired: Counter[str]) -> None:
    """Let nodes that read equal constants read the same one, in place.

    Weights of any size, by digest. Upstream's pass for that fails on bfloat16 and on transposed
    views, and its other one keeps a copy of every weight. Only tensors that share element type and
    shape with another are read at all.
    """
    alike: dict[tuple[ir.DataType, tuple[int, ...]], list[ir.Value]] = defaultdict(list)
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and not value.is_graph_input() and not value.is_graph_output():
            alike[tensor.dtype, tuple(tensor.shape.numpy())].append(value)
    for values in alike.values():
        if len(values) > 1:
            fired["equal initializers merged"] += _merge(model.graph, values)


def _merge(graph: ir.Graph, values: list[ir.Value]) -> int:
    kept: dict[str, ir.Value] = {}
    merged = 0
    for value in values:
        if value.const_value is None:
            continue
        first = kept.setdefault(tensor_digest(value.const_value), value)
        if first is not value:
            value.replace_all_uses_with(first)
            graph.initializers.pop(value.name or "")
            merged += 1
    return merged
