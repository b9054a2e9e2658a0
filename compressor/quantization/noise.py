"""How far the INT8 graph is from the float graph at every layer, on a few samples.

Both graphs run beside each other in one session, so that only sums leave the runtime. What has
passed through Q/DQ is compared after DequantizeLinear, and integer kernels stay what they are: a
second DequantizeLinear reads what the first one does. Beside them runs a copy of every integer
layer that reads the float graph's values, and so has no error but its own.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from calibration.collect import AT_ONCE, MEMORY, ValueLayout, fitting_batch, layout_of
from calibration.dataset import CalibrationSet
from calibration.sampling import rows_of
from calibration.taps import PREFIX, Taps, feeds_of
from calibration.windows import parts
from compressor.errors import GraphError
from compressor.graph.session import open_session
from compressor.graph.walks import behind
from compressor.quantization.graph import QDQ, consumers
from compressor.quantization.placement import absorbing
from compressor.quantization.replay import BATCH, CEILING
from compressor.system.stopwatch import Stopwatch
from exporters.base import QuantPolicy

_EIGHT_BITS = (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.FLOAT8E4M3FN)
_COPIES = 6
"""Tensors of a layer's size that its comparison keeps alive: both values, the difference, and
the same of the layer alone."""


@dataclass(frozen=True)
class ErrorPoint:
    """A layer and where its error is measured: behind the activation that it absorbs, if any."""

    node: str
    operator: str
    value: str
    integer: bool


@dataclass(frozen=True)
class Noise:
    """The SQNR of a layer's output.

    Attributes:
        point: The layer.
        sqnr: With everything in front of it as it is in the INT8 graph, in dB.
        own: SQNR of the layer alone as integer, fed with the float graph's values, in dB; None for
            float layers, which have no error of their own.
    """

    point: ErrorPoint
    sqnr: float
    own: float | None


def layer_noise(
    model: ir.Model,
    quantized: ir.Model,
    integer: Sequence[str],
    data: CalibrationSet,
    policy: QuantPolicy,
    *,
    memory: int | None = None,
    seconds: float = math.inf,
) -> tuple[Noise, ...]:
    """The signal-to-noise ratio at the output of every layer, over all samples together.

        SQNR = 10 · log10(Σ y² / Σ (y - y_q)²), at most `CEILING`

    Args:
        model: The float graph; it is not changed.
        quantized: The Q/DQ graph made of it (`quantize_static`); it is not changed.
        integer: Names of the integer nodes.
        data: The samples to run.
        policy: The target's policy.
        memory: Bytes to take beside the models (1 GB): layers that do not fit are compared in
            further passes.
        seconds: What a pass may take; it ends early then, after one batch at least.

    Returns:
        In graph order. Nodes that only move values have the error of what they read and are left
        out, and so is what does not write float32, or writes infinity in the float graph.

    Raises:
        GraphError: The runtime cannot run the two beside each other.
    """
    points = {point.value: point for point in points_of(model, integer, policy)}
    if not points:
        return ()
    layout = layout_of(model, list(points), data)
    room = (MEMORY if memory is None else memory) // 2
    # Both graphs run, so that each has half of the memory for its activations.
    batch = layout.fixed or fitting_batch(layout, BATCH, room)
    sizes = {name: _COPIES * 4 * batch * (layout.sampling[name].elements or 0) for name in points}
    found: list[Noise] = []
    windows = (
        part[start : start + AT_ONCE]
        for part in parts(sizes, room)
        for start in range(0, len(part), AT_ONCE)
    )
    for window in windows:
        compared = _Comparison(model, quantized, set(integer), policy, layout)
        found += compared.run([points[name] for name in window], data, batch, seconds)
    return tuple(found)


def points_of(
    model: ir.Model, integer: Iterable[str], policy: QuantPolicy
) -> tuple[ErrorPoint, ...]:
    """The layers of the main graph, in order: what computes float32."""
    names = set(integer)
    found = []
    for node in model.graph:
        is_integer = node.name in names
        skipped = policy.passthrough | {"Constant"} | (policy.absorbed if is_integer else set())
        if node.domain == "" and node.op_type in skipped:
            continue
        last = (absorbing(node, names, policy) if is_integer else None) or node
        value = _written(last)
        if value.name and (is_integer or value.dtype == ir.DataType.FLOAT):
            found.append(ErrorPoint(node.name or "", node.op_type, value.name, is_integer))
    return tuple(found)


class _Comparison:
    """A graph that holds the float graph, the INT8 graph and what compares them."""

    def __init__(
        self,
        model: ir.Model,
        quantized: ir.Model,
        integer: set[str],
        policy: QuantPolicy,
        layout: ValueLayout,
    ) -> None:
        self._integer, self._policy, self._layout = integer, policy, layout
        self._taps = Taps(model)
        self._floats = {node.name or "": node for node in self._taps.graph}
        self._originals = {node.name or "": node for node in model.graph}
        self._quantized = self._adopted(quantized)
        self._names = {node: name for name, node in self._quantized.items()}
        self._stored = _storing(self._quantized.values())

    def run(
        self, points: Sequence[ErrorPoint], data: CalibrationSet, batch: int, seconds: float
    ) -> list[Noise]:
        """Compare at some of the points, over all of the data."""
        fetched: list[str] = []
        for point in points:
            fetched += self._compared(point)
        graph, integers = self._taps.finished(), not self._policy.inputs_only
        session = open_session(graph, threads=0, spin=False, integers=integers)
        wanted = {value.name for value in session.get_inputs()}
        totals = np.zeros(len(fetched))
        watch = Stopwatch()
        for piece in data.batches(batch):
            if totals.any() and watch.seconds > seconds:
                break  # signal and noise are of the same samples, however many
            feeds = {n: a for n, a in feeds_of(piece, self._layout.fixed).items() if n in wanted}
            for index, sums in enumerate(_run(session, fetched, feeds)):
                # What only fills a fixed batch up does not count.
                totals[index] += sums[: len(piece)].astype(np.float64).sum()
        sums = iter(totals.tolist())
        found = []
        for point in points:
            signal, noise = next(sums), next(sums)
            own = sqnr(signal, next(sums)) if point.integer else None
            if math.isfinite(signal):  # a mask holds -inf, of which there is no ratio
                found.append(Noise(point, sqnr(signal, noise), own))
        return found

    def _adopted(self, quantized: ir.Model) -> dict[str, ir.Node]:
        """Move a clone of the INT8 graph in, reading the same inputs; its nodes by their names."""
        graph = quantized.clone().graph
        graph.outputs.clear()
        for value in graph.inputs:
            value.replace_all_uses_with(self._taps.values[value.name or ""])
            graph.initializers.pop(value.name or "", None)  # its default is there already
        for name in list(graph.initializers):
            value = graph.initializers.pop(name)
            value.name = f"{PREFIX}int8/{name}"
            self._taps.graph.register_initializer(value)
        nodes = list(graph)
        names = {node.name or "": node for node in nodes}
        graph.remove(nodes)
        for node in nodes:
            node.name = f"{PREFIX}int8/{node.name}"
            for value in node.outputs:
                value.name = f"{PREFIX}int8/{value.name}" if value.name else ""
            self._taps.graph.append(node)
        return names

    def _compared(self, point: ErrorPoint) -> list[str]:
        """Outputs that hold signal, noise, and for an integer layer its own noise."""
        node, last = self._originals[point.node], self._originals[point.node]
        if point.integer:
            last = absorbing(node, self._integer, self._policy) or node
        expected = _written(self._floats[last.name or ""])
        found = _written(self._quantized[last.name or ""])
        chain = {self._quantized[one.name or ""] for one in (node, last)}
        made = [found]
        if point.integer:
            made = [self._dequantized(found), self._alone(found, chain)]
        differences = [self._taps.node("Sub", [expected, one]) for one in made]
        return [self._energy(one, point.value) for one in (expected, *differences)]

    def _dequantized(self, value: ir.Value) -> ir.Value:
        """What the readers of a value see of it."""
        for reader in consumers(value):
            if reader.op_type == "QuantizeLinear":
                return self._taps.node("DequantizeLinear", [reader.outputs[0], *reader.inputs[1:]])
        return value

    def _alone(self, value: ir.Value, layer: set[ir.Node]) -> ir.Value:
        """The value after Q/DQ, were its layer the only one that is integer."""
        alone = self._copied(value, layer)
        for reader in consumers(value):
            if reader.op_type == "QuantizeLinear":
                quantized = self._taps.node("QuantizeLinear", [alone, *reader.inputs[1:]])
                return self._taps.node("DequantizeLinear", [quantized, *reader.inputs[1:]])
        return alone

    def _copied(self, value: ir.Value, layer: set[ir.Node]) -> ir.Value:
        """A copy of what the layer computes, which begins at values of the float graph."""
        copies: dict[ir.Value | None, ir.Value | None] = {}
        for node in behind([value], lambda node: self._is_own(node, layer)):
            inputs = [copies.get(one) or self._given(one) for one in node.inputs]
            copy = ir.Node(
                node.domain,
                node.op_type,
                inputs,
                list(node.attributes.values()),
                overload=node.overload,
                num_outputs=len(node.outputs),
            )
            self._taps.append(copy)
            copies |= dict(zip(node.outputs, copy.outputs, strict=True))
        found = copies.get(value) or self._given(value)
        assert found is not None, "a layer writes something"
        return found

    def _is_own(self, node: ir.Node, layer: set[ir.Node]) -> bool:
        """Whether it is of the layer, or was added for it, and computes."""
        if node in self._stored:
            return False
        # What the float graph has no node for belongs to the layer that it was added for.
        is_added = self._names[node] not in self._floats
        writes_integers = any(value.dtype in _EIGHT_BITS for value in node.outputs)
        return node in layer or node.op_type in QDQ or writes_integers or is_added

    def _given(self, value: ir.Value | None) -> ir.Value | None:
        """The float graph's value in place of one that a layer reads; weights as they are."""
        made_by = None if value is None else value.producer()
        if value is None or made_by is None or made_by in self._stored:
            return value
        return self._floats[self._names[made_by]].outputs[value.index() or 0]

    def _energy(self, value: ir.Value, name: str) -> str:
        """The output that holds Σ x² of each sample."""
        rows = rows_of(self._taps, value, self._layout.ranks.get(name), self._layout.sampling[name])
        total = self._taps.reduced("ReduceSumSquare", rows, 1)
        return self._taps.output(total)


def sqnr(signal: float, noise: float) -> float:
    """10 · log10(signal / noise), within ±`CEILING`; NaN where either is not finite."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    if noise == 0:
        return CEILING
    if signal == 0:
        return -CEILING
    ratio = 10 * (math.log10(signal) - math.log10(noise))
    return max(-CEILING, min(CEILING, ratio))


def _written(node: ir.Node) -> ir.Value:
    """The first output that is there: an LSTM may have but its last state."""
    return next((value for value in node.outputs if value.name), node.outputs[0])


def _storing(nodes: Iterable[ir.Node]) -> set[ir.Node]:
    """The nodes, given in order, that unpack or turn round weights, of which no copy is needed."""
    found: set[ir.Node] = set()
    for node in nodes:
        read = [value for value in node.inputs if value is not None]
        if read and all(value.is_initializer() or value.producer() in found for value in read):
            found.add(node)
    return found


def _run(session: Any, fetched: Sequence[str], feeds: dict[str, Any]) -> list[Any]:
    try:
        found: list[Any] = session.run(fetched, feeds)
    except Exception as error:  # the runtime raises its own classes, unrelated to each other
        raise GraphError(f"ONNX Runtime cannot compare the graphs: {error}") from error
    return found
