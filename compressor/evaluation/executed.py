"""What ONNX Runtime executed: the times of its profiler, matched to its optimized graph.

The profiler knows the sizes that values had, but not the weights that a kernel has packed into a
form of its own; the optimized graph knows the weights and the attributes, but not sizes that
depend on the input. Together they give every node's multiply-accumulates and bytes.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from scipy.stats import trim_mean

from compressor.graph.macs import Shape, node_macs

Tensor = tuple[str, Shape]
"""Element type, as the profiler writes it, and shape."""

WARM_UP = 3
"""Runs at the start that do not count."""

LONG = 100
"""Microseconds of a node from which the profiler's resolution does not matter."""

_SUFFIX = "_kernel_time"
_TYPES = {
    "float": (ir.DataType.FLOAT, 4),
    "double": (ir.DataType.DOUBLE, 8),
    "float16": (ir.DataType.FLOAT16, 2),
    "bfloat16": (ir.DataType.BFLOAT16, 2),
    "int8": (ir.DataType.INT8, 1),
    "uint8": (ir.DataType.UINT8, 1),
    "int16": (ir.DataType.INT16, 2),
    "uint16": (ir.DataType.UINT16, 2),
    "int32": (ir.DataType.INT32, 4),
    "uint32": (ir.DataType.UINT32, 4),
    "int64": (ir.DataType.INT64, 8),
    "uint64": (ir.DataType.UINT64, 8),
    "bool": (ir.DataType.BOOL, 1),
}
_NAMES = {kind: name for name, (kind, _) in _TYPES.items()}
_VIEWS = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Size"})
"""Operators whose output is the input's memory, or that look at sizes only."""
_SELECTIONS = frozenset({"Gather", "GatherElements", "GatherND", "Slice"})
"""Operators that read of their first input no more than they write."""


@dataclass(frozen=True)
class NodeTime:
    """A node's time over the profiled runs and the tensors that the profiler saw.

    Attributes:
        microseconds: The interquartile mean over runs: as robust as the median, but not bound
            to the profiler's resolution of one microsecond. Of runs that were chosen for what
            they lost the lower quartile, where that resolution does not matter.
    """

    name: str
    operator: str
    microseconds: float
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True)
class NodeWork:
    """Cost of one run of a node; None where it cannot be told.

    Attributes:
        macs: Multiply-accumulates.
        bytes: Inputs read and outputs written, weights included, each once.
        integer: Whether it computes in 8 bits.
    """

    macs: int | None
    bytes: int | None
    integer: bool


def node_times(profile: Path, kept: Sequence[int] | None = None) -> list[NodeTime]:
    """Read a profile that `InferenceSession.end_profiling` wrote; nodes in order of execution.

    Nodes inside If, Loop and Scan are part of those.

    Args:
        profile: The file.
        kept: Numbers of the runs that count, of a machine that was not quiet in the others; None
            for all but the first.
    """
    events = [
        event
        for event in json.loads(profile.read_text())
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX)
    ]
    # Of events that start together the longer one contains the other.
    events.sort(key=lambda event: (event["ts"], -event["dur"]))
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    end = -1
    for event in events:
        if event["ts"] < end:
            continue
        end = event["ts"] + event["dur"]
        arguments = event["args"]
        key = (event["name"], arguments["op_name"], arguments.get("node_index", ""))
        groups[key].append(event)
    return [_node_time(name, op, group, kept) for (name, op, _), group in groups.items()]


def _node_time(
    name: str, operator: str, events: list[dict[str, Any]], kept: Sequence[int] | None
) -> NodeTime:
    counted = events[WARM_UP:] or events
    if kept is not None:
        counted = [events[run] for run in kept if run < len(events)] or counted
    arguments = counted[-1]["args"]
    durations = [event["dur"] for event in counted]
    typical = float(trim_mean(durations, 0.25))
    if kept is not None and typical >= LONG:
        typical = float(np.percentile(durations, 25))
    return NodeTime(
        name=name.removesuffix(_SUFFIX),
        operator=operator,
        microseconds=typical,
        inputs=_tensors(arguments.get("input_type_shape", ())),
        outputs=_tensors(arguments.get("output_type_shape", ())),
    )


def _tensors(described: Sequence[Mapping[str, Sequence[int]]]) -> tuple[Tensor, ...]:
    return tuple((kind, tuple(shape)) for entry in described for kind, shape in entry.items())


def node_work(times: Sequence[NodeTime], graph: ir.Graph) -> list[NodeWork]:
    """The work of every timed node, by its namesake in the optimized graph.

    Args:
        times: See `node_times`.
        graph: The graph that the profiled session has written.
    """
    counts = Counter(node.name for node in graph)
    nodes = {node.name: node for node in graph if counts[node.name] == 1}
    return [_work(time, nodes.get(time.name)) for time in times]


def _work(time: NodeTime, node: ir.Node | None) -> NodeWork:
    if node is None or node.op_type != time.operator:
        return NodeWork(None, None, False)
    inputs = _aligned(node, time.inputs)
    if inputs is None:
        return NodeWork(None, None, False)
    shapes = [None if tensor is None else tensor[1] for tensor in inputs]
    present = [tensor for tensor in inputs if tensor is not None]
    return NodeWork(
        macs=node_macs(node, shapes, [shape for _, shape in time.outputs] or [None]),
        bytes=_bytes(time.operator, present, time.outputs),
        integer=any(kind in ("int8", "uint8") for kind, _ in present)
        and time.operator != "MatMulNBits",
    )


def _aligned(node: ir.Node, seen: Sequence[Tensor]) -> list[Tensor | None] | None:
    """Every input of a node with its type and shape, None for those left out.

    The profiler leaves out weights that the kernel has packed; those come from the graph.
    Where that does not add up (an input that is no tensor, say) the answer is None.
    """
    left = list(seen)
    constants = [_stored_tensor(value) for value in node.inputs]
    missing = sum(value is not None for value in node.inputs) - len(left)
    aligned: list[Tensor | None] = []
    for value, constant in zip(node.inputs, constants, strict=True):
        if value is None:
            aligned.append(None)
        elif constant is not None and missing > 0 and (not left or left[0] != constant):
            aligned.append(constant)
            missing -= 1
        elif left:
            aligned.append(left.pop(0))
        else:
            return None
    return None if left else aligned


def _stored_tensor(value: ir.Value | None) -> Tensor | None:
    if value is None or value.const_value is None or value.const_value.dtype not in _NAMES:
        return None
    return _NAMES[value.const_value.dtype], tuple(value.const_value.shape.numpy())


def _bytes(operator: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> int | None:
    tensors = [*inputs, *outputs]
    if any(kind not in _TYPES for kind, _ in tensors):
        return None
    if operator in _VIEWS:
        return 0
    if operator in _SELECTIONS:
        tensors = [*inputs[1:], *outputs, *outputs]
    return sum(_TYPES[kind][1] * prod(shape) for kind, shape in tensors)
