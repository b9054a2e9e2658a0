"""What a range costs where it is read: the error at the consumer's output, on a few samples.

Beside the float graph runs, for every quantized value, a copy of each node that reads it, fed with
the value after fake quantization and with its weights quantized as they will be. Scale and zero
point are inputs, so that one graph serves all candidates; only one number per sample leaves it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from calibration.collect import MEMORY, ValueLayout, layout_of
from calibration.dataset import CalibrationSet
from calibration.sampling import rows_of
from calibration.scheme import QuantParams, Scheme, dequantize
from calibration.taps import Taps, feeds_of
from calibration.windows import parts
from compressor.graph.constants import constant
from compressor.graph.invariants import subgraphs
from compressor.graph.session import open_session
from compressor.quantization.placement import absorbing, quantized_uses
from compressor.quantization.weights import channel_axis, nearest_integers, tensor_params
from exporters.base import QuantPolicy

BATCH = 8
"""Samples per run; few, because many values are alive at once."""
CEILING = 100.0
"""SQNR, in dB, of what has no error."""

Decibels = npt.NDArray[np.float64]

Scores = dict[str, dict[str, float]]
"""Value → candidate → SQNR in dB."""


def replay(
    model: ir.Model,
    integer: Sequence[str],
    values: Sequence[str],
    candidates: Mapping[str, Mapping[str, QuantParams]],
    data: CalibrationSet,
    policy: QuantPolicy,
    *,
    memory: int | None = None,
) -> Scores:
    """The signal-to-noise ratio at the output of each value's consumers, for each candidate.

        SQNR = 10 · log10(Σ y² / Σ (y - y_q)²) of each sample and consumer

    Args:
        model: The float graph; it is not changed.
        integer: Names of the integer nodes.
        values: Names of the quantized values to judge.
        candidates: Candidate → value name → parameters.
        data: The samples to replay.
        policy: The target's policy.
        memory: Bytes to take beside the model (1 GB).
    """
    layout = layout_of(model, [value.name or "" for value in _values(model)], data)
    scores: Scores = {}
    for window in _windows(model, values, layout, memory):
        judge = _Judge(model, set(integer), window, layout, policy)
        scores |= judge.run(candidates, data)
    return scores


def _values(model: ir.Model) -> list[ir.Value]:
    return [*model.graph.inputs, *(v for node in model.graph for v in node.outputs)]


def _windows(
    model: ir.Model, values: Sequence[str], layout: ValueLayout, memory: int | None
) -> list[list[str]]:
    """Parts whose values, copies and differences fit into half of the memory at once."""
    room = (MEMORY if memory is None else memory) // 2
    batch = layout.fixed or BATCH
    elements = {name: how.elements or 0 for name, how in layout.sampling.items()}
    known = {value.name or "": value for value in _values(model)}

    def size(name: str) -> int:
        touched = [name, *(o.name or "" for r in known[name].consumers() for o in r.outputs)]
        return 3 * 4 * batch * sum(elements.get(one, 0) for one in touched)

    return parts({name: size(name) for name in values}, room)


class _Judge:
    """The graph that measures the consumers of some values."""

    def __init__(
        self,
        model: ir.Model,
        integer: set[str],
        values: Sequence[str],
        layout: ValueLayout,
        policy: QuantPolicy,
    ) -> None:
        self._integer, self._values = integer, values
        self._layout, self._policy = layout, policy
        self._taps = Taps(model)
        # Readers are looked up in the model itself: the clone's values get readers from us.
        self._values_of = {v.name or "": v for v in _values(model)}
        self._weights: dict[ir.Value, ir.Value] = {}
        self._inputs = {name: self._scalars(index) for index, name in enumerate(values)}
        self._fetched: dict[str, list[str]] = {name: [] for name in values}
        for name in values:
            self._judge(name)
        self._model = self._taps.finished()

    def run(
        self, candidates: Mapping[str, Mapping[str, QuantParams]], data: CalibrationSet
    ) -> Scores:
        """Replay every candidate."""
        session = open_session(self._model, threads=0, spin=False)
        known = {value.name for value in session.get_inputs()}
        fetched = [name for names in self._fetched.values() for name in names]
        sums: dict[tuple[str, str], list[Decibels]] = defaultdict(list)
        for piece in data.batches(self._layout.fixed or BATCH):
            feeds = dict(feeds_of(piece, self._layout.fixed))
            for candidate, params in candidates.items():
                parameters = self._parameters(params)
                wanted = {n: a for n, a in (feeds | parameters).items() if n in known}
                arrays = iter(session.run(fetched, wanted))
                for name, outputs in self._fetched.items():
                    pairs = [(next(arrays), next(arrays)) for _ in outputs[::2]]
                    sums[name, candidate] += [
                        decibels(signal[: len(piece)], noise[: len(piece)])
                        for signal, noise in pairs
                    ]
        return {name: {c: score(sums[name, c]) for c in candidates} for name in self._values}

    def _scalars(self, index: int) -> tuple[ir.Value, ir.Value]:
        return self._taps.input(f"scale_{index}"), self._taps.input(f"zero_point_{index}")

    def _parameters(self, params: Mapping[str, QuantParams]) -> dict[str, Any]:
        feeds: dict[str, Any] = {}
        for name, (scale, zero_point) in self._inputs.items():
            feeds[scale.name or ""] = np.asarray(params[name].scale, np.float32)
            feeds[zero_point.name or ""] = np.asarray(params[name].zero_point, np.float32)
        return feeds

    def _judge(self, name: str) -> None:
        value = self._values_of[name]
        uses: dict[ir.Node, list[int]] = defaultdict(list)
        for node, index in quantized_uses(value, self._integer, self._policy):
            uses[node].append(index)
        restored = fake_quantized(
            self._taps, self._taps.values[name], *self._inputs[name], self._policy.activation
        )
        judged = [
            (node, indices)
            for node, indices in uses.items()
            if not (node.name in self._integer and node.op_type in self._policy.passthrough)
            and self._can_judge(node)
        ]
        for node, indices in judged:
            self._measure(name, *self._consumer(node, indices, restored))
        if not judged:
            self._measure(name, name, restored)

    def _can_judge(self, node: ir.Node) -> bool:
        """Whether a copy of a reader tells an error: Shape, ArgMax and bodies do not."""
        value = node.outputs[0]
        has_body = any(True for _ in subgraphs(node))
        inside = self._values_of.get(value.name or "") is value
        return bool(value.name) and inside and not has_body and value.dtype == ir.DataType.FLOAT

    def _consumer(
        self, node: ir.Node, indices: Sequence[int], restored: ir.Value
    ) -> tuple[str, ir.Value]:
        """The output of a reader and of the activation behind it: its name, and the copy's."""
        inputs = [
            restored if i in indices else self._taps.own(value)
            for i, value in enumerate(node.inputs)
        ]
        if node.name in self._integer and node.op_type in self._policy.weighted:
            inputs[1] = self._weight(node)
        result, expected = self._taps.copy(node, inputs), node.outputs[0]
        absorbed = absorbing(node, self._integer, self._policy)
        if absorbed is not None:
            bounds = [self._taps.own(value) for value in absorbed.inputs[1:]]
            result, expected = self._taps.copy(absorbed, [result, *bounds]), absorbed.outputs[0]
        return expected.name or "", result

    def _weight(self, node: ir.Node) -> ir.Value:
        """The weight after quantization, in float; each is stored once."""
        weight = node.inputs[1]
        tensor = constant(weight)
        if weight is None or tensor is None:
            raise AssertionError(f"{node.name} was placed without a constant weight")
        if weight not in self._weights:
            params = tensor_params(tensor, channel_axis(node), self._policy.weight)
            codes = nearest_integers(tensor.numpy(), params, channel_axis(node))
            values = dequantize(codes, params)
            self._weights[weight] = self._taps.constant(values)
        return self._weights[weight]

    def _measure(self, name: str, output: str, result: ir.Value) -> None:
        node, expected = self._taps.node, self._taps.values[output]
        rank, how = self._layout.ranks.get(output), self._layout.sampling[output]
        signal, error = expected, node("Sub", [expected, result])
        for one in (signal, error):
            rows = rows_of(self._taps, one, rank, how)
            total = self._taps.reduced("ReduceSumSquare", rows, 1)
            self._fetched[name].append(self._taps.output(total))


def fake_quantized(
    taps: Taps, value: ir.Value, scale: ir.Value, zero_point: ir.Value, scheme: Scheme
) -> ir.Value:
    """The value after quantization, in float; scale and zero point are float scalars."""
    low, high = (taps.constant(np.array(end, np.float32)) for end in (scheme.qmin, scheme.qmax))
    if scheme.is_float:
        clipped = taps.node("Clip", [taps.node("Div", [value, scale]), low, high])
        codes = taps.node("Cast", [clipped], to=int(ir.DataType.FLOAT8E4M3FN))
        return taps.node("Mul", [taps.node("Cast", [codes], to=int(ir.DataType.FLOAT)), scale])
    rounded = taps.node("Round", [taps.node("Div", [value, scale])])
    clipped = taps.node("Clip", [taps.node("Add", [rounded, zero_point]), low, high])
    return taps.node("Mul", [taps.node("Sub", [clipped, zero_point]), scale])


def decibels(signal: Decibels, noise: Decibels) -> Decibels:
    """SQNR of each sample that has a signal, from the energies of signal and error [samples].

    A signal whose energy is beyond float32 has no ratio; an error that is, or is no number, leaves
    -inf dB.
    """
    signal, noise = signal.astype(np.float64), noise.astype(np.float64)
    noise = np.where(np.isnan(noise), np.inf, noise)
    heard = (signal > 0) & np.isfinite(signal)
    floor = signal[heard] * 10 ** (-CEILING / 10)
    with np.errstate(divide="ignore"):
        ratios: Decibels = 10 * np.log10(signal[heard] / np.maximum(noise[heard], floor))
    return ratios


def score(parts: Sequence[Decibels]) -> float:
    """Halfway between the mean of the decibels and the decibels of the mean noise.

    The first hardly notices a few samples that a range ruins, the second notices little else.
    """
    values = np.concatenate(parts) if parts else np.zeros(0)
    if not values.size:
        return CEILING
    noise = np.minimum(10 ** (-values / 10), 1.0)
    return float(values.mean() - 10 * np.log10(noise.mean())) / 2
