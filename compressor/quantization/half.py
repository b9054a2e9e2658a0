"""Weights stored in half of the bits, and widened to float32 by the runtime when it loads them.

    w → Cast(float16(w)),   Cast(bfloat16(w))

ONNX Runtime's CPU kernels compute in float32: a graph converted to float16 gets a Cast around
nearly every node and runs slower, and one in bfloat16 does not load at all, as MatMul, Add and the
like have no such kernels. So only weights become half, activations keep float32 and its range, and
the Casts, which read constants, are computed once.

float16 holds magnitudes from 6e-8 to 65504, and below 6e-5 with fewer bits. A weight beyond that,
or with too much of its energy below, stays float32; so does one whose layer loses too much on
calibration data.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

import ml_dtypes
import numpy as np
import onnx_ir as ir

from compressor.errors import RecipeError
from compressor.graph.constants import constant
from compressor.graph.initializers import FreeNames, add_initializer, taken_names
from compressor.graph.invariants import check
from compressor.graph.tensors import Array
from compressor.quantization.matrices import readers_behind
from compressor.results.records import Decision, StageRecord
from compressor.system.stopwatch import Stopwatch

Kind = Literal["fp16", "bf16"]

TYPES = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
LARGEST = {"fp16": 65504.0, "bf16": 3.3895314e38}
PART = 1 << 22
"""Elements that are looked at together: 32 MB as float64."""
SMALLEST = 64
"""Elements from which a weight is worth its Cast."""
TOLERATED = {"fp16": 1e-6, "bf16": 1e-5}
"""Energy of the rounding error relative to the weight's; rounding alone gives 4e-8 and 3e-6."""
POOREST = {"fp16": 50.0, "bf16": 40.0}
"""SQNR in dB that a layer keeps at least; rounding alone leaves about 73 and 55."""


@dataclass(frozen=True)
class Halving:
    """The weights that are stored in half precision.

    Attributes:
        weights: Initializers that are stored in half of the bits.
        nodes: Nodes that read them, in graph order.
        float_reasons: Node → why its weight stays float32.
        record: The stage.
    """

    weights: tuple[str, ...]
    nodes: tuple[str, ...]
    float_reasons: Mapping[str, str]
    record: StageRecord


def choose(
    model: ir.Model, kind: Kind, leave: tuple[str, ...] = (), refused: Mapping[str, str] = {}
) -> Halving:
    """Choose the weights that can be stored in half of the bits.

    Args:
        model: The float graph; it is not changed.
        kind: `fp16` or `bf16`.
        leave: Patterns of names of nodes or initializers that stay float32.
        refused: Node → why its weights stay float32 whatever their values, as data has shown.
    """
    watch = Stopwatch()
    kept, reasons, decisions = [], dict[str, str](), []
    for value in model.graph.initializers.values():
        tensor = constant(value)
        if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < SMALLEST:
            continue
        readers = [node.name or "" for node in readers_behind(value)]
        known = next((refused[name] for name in readers if name in refused), None)
        why = known or _why_not_halved(
            value, tensor.numpy(), kind, [*readers, value.name or ""], leave
        )
        if why is None:
            kept.append(value)
        else:
            reasons |= dict.fromkeys(readers, why)
            decisions.append(Decision(subject=value.name or "", verdict="float32", reason=why))
    reading = {node for value in kept for node in readers_behind(value)}
    record = StageRecord(
        name="halve weights",
        seconds=watch.seconds,
        parameters={"type": TYPES[kind].name},
        changed={"weights in half": len(kept)},
        decisions=tuple(decisions),
    )
    return Halving(
        tuple(value.name or "" for value in kept),
        tuple(node.name or "" for node in model.graph.all_nodes() if node in reading),
        reasons,
        record,
    )


def halve(model: ir.Model, weights: Iterable[str], kind: Kind) -> ir.Model:
    """The graph with those weights in half of the bits; `model` stays as it is.

    Raises:
        RecipeError: A weight is not in this graph.
    """
    clone = model.clone()
    graph = clone.graph
    names = FreeNames(taken_names(graph), first=1)
    for name in weights:
        value = graph.initializers.get(name)
        tensor = constant(value)
        if value is None or tensor is None or tensor.dtype != ir.DataType.FLOAT:
            raise RecipeError(
                f"the plan does not fit the graph: {name!r} is no float32 weight of it",
                hint="Replay a plan with the model and the options that it was made with.",
            )
        array = _rounded(tensor.numpy(), kind)
        small = add_initializer(graph, names.take(f"{name}_{kind}"), array)
        cast = ir.node("Cast", [small], {"to": ir.DataType.FLOAT.value})
        cast.name = names.take(f"{name}_float")
        cast.outputs[0].name = names.take(f"{name}_widened")
        cast.outputs[0].dtype, cast.outputs[0].shape = ir.DataType.FLOAT, value.shape
        value.replace_all_uses_with(cast.outputs[0])
        graph.initializers.pop(name)
        graph.insert_before(graph[0], cast)
    check(clone, "halve weights")
    return clone


def _why_not_halved(
    value: ir.Value, array: Array, kind: Kind, names: list[str], leave: tuple[str, ...]
) -> str | None:
    """Why a weight cannot be stored so."""
    if value.is_graph_output():
        return "its weight is an output of the graph"
    if any(fnmatchcase(name, pattern) for name in names for pattern in leave):
        return "it was left in float as asked"
    limit = LARGEST[kind]
    energy = lost = 0.0
    for part in _parts(array):
        exact = part.astype(np.float64)
        largest = float(np.abs(exact).max())
        if not largest <= limit:
            return f"its weights reach {largest:.3g}, {TYPES[kind].name} ends at {limit:.3g}"
        energy += float(np.vdot(exact, exact))
        exact -= _rounded(part, kind).astype(np.float64)
        lost += float(np.vdot(exact, exact))
    share = lost / energy if energy > 0 else 0.0
    if share > TOLERATED[kind]:
        return f"{TYPES[kind].name} loses {share:.1g} of the energy of its weights, which are small"
    return None


def _parts(array: Array) -> Iterator[Array]:
    """The elements in a row, so many at a time that a large weight takes no copy of itself."""
    flat = array.reshape(-1)
    for start in range(0, flat.size, PART):
        yield flat[start : start + PART]


def _rounded(array: Array, kind: Kind) -> Array:
    with np.errstate(over="ignore"):
        found: Array = array.astype(TYPES[kind])
    return found
