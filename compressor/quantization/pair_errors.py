"""The error that divisors of a value's channels leave at the convolutions that read it.

Beside the float graph runs, for every candidate, a copy of the convolution that writes the value,
of its activation and of all that read it, with the value and all weights quantized. Only means of
channels leave the graph.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from calibration.collect import MEMORY, ValueLayout, fitting_batch
from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray, dequantize, params_from_range
from calibration.taps import Taps, feeds_of
from calibration.windows import parts
from compressor.graph.constants import constant
from compressor.graph.session import open_session
from compressor.quantization.pairs import EqualizationPair, reading, weight_of, writing
from compressor.quantization.replay import CEILING, fake_quantized
from compressor.quantization.weights import channel_axis, nearest_integers, weight_params
from exporters.base import QuantPolicy

PLAIN = "as it is"
"""The candidate without divisors."""
HEARD = 1e-6
"""Variance of a channel over its mean square below which it is a constant in float32."""

Candidates = Mapping[str, FloatArray]
"""What divisors come from → divisor of each channel, (channels,)."""


@dataclass(frozen=True)
class Extremes:
    """The least and greatest value of each channel, (channels,)."""

    low: FloatArray
    high: FloatArray

    @property
    def most(self) -> FloatArray:
        """The greatest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


@dataclass(frozen=True)
class Replaying:
    """A float graph, and how samples run through it.

    Attributes:
        model: The float graph; it is not changed.
        policy: The target's policy.
        layout: Layout of the values that are looked at.
        batch: Samples per run, at most.
        memory: Bytes to take beside the model (1 GB).
    """

    model: ir.Model
    policy: QuantPolicy
    layout: ValueLayout
    batch: int
    memory: int | None

    def extremes(
        self, pairs: Mapping[str, EqualizationPair], data: CalibrationSet
    ) -> dict[str, Extremes]:
        """Extremes of each pair's value over all samples."""
        taps = Taps(self.model)
        fetched = [
            taps.output(taps.reduced(how, taps.values[name], *_all_but_channels(pair.maker)))
            for name, pair in pairs.items()
            for how in ("ReduceMin", "ReduceMax")
        ]
        runs = [arrays for _, arrays in self._runs(taps, fetched, data)]
        columns = iter(zip(*runs, strict=True))
        return {
            name: Extremes(np.min(next(columns), axis=0), np.max(next(columns), axis=0))
            for name in pairs
        }

    def scores(
        self,
        pairs: Mapping[str, EqualizationPair],
        tried: Mapping[str, Candidates],
        seen: Mapping[str, Extremes],
        data: CalibrationSet,
    ) -> dict[str, dict[str, float]]:
        """Value → candidate, or `PLAIN` → signal to noise at the readers, in dB.

        -10 · log10 of the mean, over all channels that the readers write, of the error's mean
        square over the variance of the output, at most 1 each.
        """

        def size(name: str) -> int:
            nodes = (pairs[name].maker, *pairs[name].readers)
            return (len(tried[name]) + 1) * sum(4 * weight_of(node).size for node in nodes)

        room = (MEMORY if self.memory is None else self.memory) // 2
        found: dict[str, dict[str, float]] = {}
        for window in parts({name: size(name) for name in pairs}, room):
            taps, fetched = Taps(self.model), list[str]()
            plain = {n: {PLAIN: np.ones(pairs[n].channels)} | dict(tried[n]) for n in window}
            for name in window:
                fetched += self._measured(taps, pairs[name], plain[name].values(), seen[name])
            means = _means(self._runs(taps, fetched, data))
            for name in window:
                readers = len(pairs[name].readers)
                moments = [(next(means), next(means)) for _ in range(readers)]
                found[name] = {
                    candidate: _decibels(moments, [next(means) for _ in range(readers)])
                    for candidate in plain[name]
                }
        return found

    def _measured(
        self, taps: Taps, pair: EqualizationPair, divisors: Iterable[FloatArray], seen: Extremes
    ) -> list[str]:
        """Mean and mean square of each reader, then each candidate's error there; to be fetched."""
        wanted = [(reader, taps.values[reader.outputs[0].name or ""]) for reader in pair.readers]
        moments = []
        for reader, value in wanted:
            axes = _all_but_channels(reader)
            moments += [taps.reduced("ReduceMean", value, *axes), _square(taps, value, axes)]
        for divisor in divisors:
            read = self._rescaled(taps, pair, divisor, seen)
            for reader, value in wanted:
                result = self._quantized(taps, reader, read, reading(reader, divisor))
                error = taps.node("Sub", [value, result])
                moments.append(_square(taps, error, _all_but_channels(reader)))
        return [taps.output(one) for one in moments]

    def _rescaled(
        self, taps: Taps, pair: EqualizationPair, divisor: FloatArray, seen: Extremes
    ) -> ir.Value:
        """The value divided, as the quantized maker writes it, quantized."""
        maker, activation = pair.maker, pair.activation
        bias = constant(maker.inputs[2]) if len(maker.inputs) > 2 else None
        shift = None if bias is None else (bias.numpy() / divisor).astype(np.float32)
        source = taps.own(maker.inputs[0])
        value = self._quantized(taps, maker, source, writing(maker, divisor), shift)
        if activation is not None:
            value = taps.copy(activation, [value, *(taps.own(v) for v in activation.inputs[1:])])
        scheme = self.policy.activation
        low, high = float((seen.low / divisor).min()), float((seen.high / divisor).max())
        params = params_from_range(low, high, scheme)
        scale, zero = (
            taps.constant(np.asarray(n, np.float32)) for n in (params.scale, params.zero_point)
        )
        return fake_quantized(taps, value, scale, zero, scheme)

    def _quantized(
        self,
        taps: Taps,
        node: ir.Node,
        read: ir.Value | None,
        factor: FloatArray,
        bias: FloatArray | None = None,
    ) -> ir.Value:
        """A copy of a convolution with its weights times a factor, quantized."""
        weight = (weight_of(node) * factor).astype(np.float32)
        params = weight_params(weight, channel_axis(node), self.policy.weight)
        codes = nearest_integers(weight, params, channel_axis(node))
        stored = taps.constant(dequantize(codes, params))
        biases = [taps.own(v) for v in node.inputs[2:]] if bias is None else [taps.constant(bias)]
        return taps.copy(node, [read, stored, *biases])

    def _runs(
        self, taps: Taps, fetched: list[str], data: CalibrationSet
    ) -> list[tuple[int, Sequence[FloatArray]]]:
        """Samples and what was fetched, batch by batch."""
        session = open_session(taps.finished(), threads=0, spin=False)
        known = {value.name for value in session.get_inputs()}
        size = self.layout.fixed or fitting_batch(self.layout, self.batch, self.memory)
        found = []
        for piece in data.batches(size):
            feeds = feeds_of(piece, self.layout.fixed).items()
            arrays = session.run(fetched, {n: a for n, a in feeds if n in known})
            found.append((len(piece), arrays))
        return found


def _square(taps: Taps, value: ir.Value, axes: Sequence[int]) -> ir.Value:
    return taps.reduced("ReduceMean", taps.node("Mul", [value, value]), *axes)


def _means(runs: Sequence[tuple[int, Sequence[FloatArray]]]) -> Iterator[FloatArray]:
    """Mean of each fetched array over all samples."""
    counts = [count for count, _ in runs]
    for column in zip(*(arrays for _, arrays in runs), strict=True):
        yield np.average(np.asarray(column, np.float64), axis=0, weights=counts)


def _decibels(moments: Sequence[tuple[FloatArray, FloatArray]], noises: list[FloatArray]) -> float:
    mean, square = (np.concatenate(parts) for parts in zip(*moments, strict=True))
    variance = square - mean**2
    heard = variance > HEARD * square
    if not heard.any():
        return CEILING
    ratios = np.minimum(np.concatenate(noises)[heard] / variance[heard], 1.0)
    return -10 * float(np.log10(max(float(ratios.mean()), 10 ** (-CEILING / 10))))


def _all_but_channels(node: ir.Node) -> tuple[int, ...]:
    return (0, *range(2, weight_of(node).ndim))
