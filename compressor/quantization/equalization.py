"""Cross-layer equalization: evens out the channels that convolutions hand to convolutions.

A tensor has one scale for all channels, so that quiet channels get few integers beside loud ones;
so do quiet weights in a filter. Both can be evened out exactly in float (`pairs`), and at no cost:
everything goes into weights and biases. Divisors s come from

- weights: s_i = √(r1_i · r2_i) / r2_i, with r the largest magnitude of the weights that write and
  read channel i, over all pairs until nothing changes (Nagel et al. 2019, arXiv 1906.04721,
  section 4.1, equations 9 to 11);
- activations: s_i = max|X_i|^α / max|W_i|^(1-α), with the weights of each filter relative to its
  largest, since a filter has a scale of its own (as Xiao et al. 2022, arXiv 2211.10438, eq. 4).

What is taken is decided value by value, by the error at the outputs of the readers.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from calibration.collect import layout_of
from calibration.dataset import CalibrationSet
from calibration.scheme import FloatArray
from compressor.quantization.auto import drawn
from compressor.quantization.graph import consumers
from compressor.quantization.pair_errors import PLAIN, Extremes, Replaying
from compressor.quantization.pairs import EqualizationPair, find_pairs, reading, weight_of, writing
from compressor.results.records import Decision, StageRecord
from compressor.system.stopwatch import Stopwatch
from exporters.base import QuantPolicy

ALPHAS = (0.5, 0.75, 1.0)
"""Exponents that are tried."""
GAIN = 1.0
"""dB at the readers that divisors must gain."""
QUIETEST = 1 / 16
"""Share of the median: quieter channels are raised as if they had it, lest those that are silent
in calibration alone fill the range."""
LEAST = 1e-5
"""Weights and extremes below it count as that."""
SETTLED, ROUNDS = 1e-4, 100
"""Change of a divisor below which the pairs have converged, and rounds at most."""


def choose_equalization(
    model: ir.Model, data: CalibrationSet, policy: QuantPolicy, *, batch: int, memory: int | None
) -> tuple[dict[str, FloatArray], StageRecord]:
    """The divisors that lower the error of INT8 convolutions.

    Judged at the outputs of the convolutions that read a value, with it and all weights quantized,
    on other samples than gave the divisors. Every output channel counts alike, as what reads it can
    make up for its scale: the score is -10 · log10 of the mean over channels of noise over signal.

    Args:
        model: The float graph, BatchNorm folded.
        data: Calibration samples.
        policy: The target's policy.
        batch: Samples per run.
        memory: Bytes to take beside the model (1 GB).

    Returns:
        Value → divisor of each channel, float32 (channels,); and the stage.
    """
    watch = Stopwatch()
    pairs = find_pairs(model) if "Conv" in policy.weighted else {}
    sample = drawn(data, 0)
    found: dict[str, FloatArray] = {}
    decisions = [*_refused(model)]
    if pairs:
        first, second = sample.split(0.5, 0) if len(sample) > 1 else (sample, sample)
        replaying = Replaying(model, policy, layout_of(model, list(pairs), data), batch, memory)
        seen = replaying.extremes(pairs, first)
        tried = _candidates(pairs, seen)
        scores = replaying.scores(pairs, tried, seen, second)
        for name, told in scores.items():
            best = max(tried[name], key=told.__getitem__)
            gain = told[best] - told[PLAIN]
            if gain >= GAIN:
                found[name] = tried[name][best].astype(np.float32)
            decisions.append(
                Decision(
                    subject=name,
                    verdict=f"equalized by {best}" if gain >= GAIN else "left alone",
                    reason=f"{told[PLAIN]:.1f} dB of signal to noise at its convolutions, "
                    f"{told[best]:.1f} equalized by {best}: {gain:+.1f} dB",
                )
            )
    record = StageRecord(
        name="equalize layers",
        seconds=watch.seconds,
        parameters={"samples": len(sample)},
        changed={"values": len(found)},
        decisions=tuple(decisions),
    )
    return found, record


def by_weights(pairs: Mapping[str, EqualizationPair]) -> dict[str, FloatArray]:
    """Equation 11 over all pairs, again and again until nothing changes, (channels,) each."""
    weights = {
        node: np.abs(weight_of(node)).astype(np.float64)
        for pair in pairs.values()
        for node in (pair.maker, *pair.readers)
    }
    divisors: dict[str, FloatArray] = {name: np.ones(pair.channels) for name, pair in pairs.items()}
    for _ in range(ROUNDS):
        change = 0.0
        for name, pair in pairs.items():
            written = weights[pair.maker].reshape(pair.channels, -1).max(axis=1)
            read = np.max([_read(node, weights[node]) for node in pair.readers], axis=0)
            alive = np.minimum(written, read) > LEAST
            step = np.ones(pair.channels)
            step[alive] = np.sqrt(written[alive] / read[alive])
            weights[pair.maker] = weights[pair.maker] * writing(pair.maker, step)
            for node in pair.readers:
                weights[node] = weights[node] * reading(node, step)
            divisors[name] = divisors[name] * step
            change = max(change, float(np.abs(np.log(step)).max(initial=0.0)))
        if change < SETTLED:
            break
    return divisors


def _read(node: ir.Node, weight: FloatArray) -> FloatArray:
    """The largest magnitude of the weights that read each channel, (inputs,)."""
    groups = node.attributes.get_int("group", 1)
    grouped = weight.reshape(groups, len(weight) // groups, weight.shape[1], -1)
    most: FloatArray = grouped.max(axis=(1, 3)).reshape(-1)
    return most


def _candidates(
    pairs: Mapping[str, EqualizationPair], seen: Mapping[str, Extremes]
) -> dict[str, dict[str, FloatArray]]:
    """Value → what the divisors come from → divisors."""
    weights = by_weights(pairs)
    return {
        name: {"weights": weights[name]}
        | {f"activations, exponent {a}": _by_activations(pair, seen[name], a) for a in ALPHAS}
        for name, pair in pairs.items()
    }


def _by_activations(pair: EqualizationPair, seen: Extremes, alpha: float) -> FloatArray:
    loud = np.maximum(seen.most.astype(np.float64), LEAST)
    read = np.zeros(pair.channels)
    for node in pair.readers:
        weight = np.abs(weight_of(node)).astype(np.float64)
        largest = weight.reshape(len(weight), -1).max(axis=1)
        relative = weight / np.maximum(largest, LEAST).reshape(-1, *[1] * (weight.ndim - 1))
        read = np.maximum(read, _read(node, relative))
    logs = alpha * np.log(loud) - (1 - alpha) * np.log(np.maximum(read, LEAST))
    divisor: FloatArray = np.exp(np.maximum(logs - np.median(logs), np.log(QUIETEST)))
    return divisor


def _refused(model: ir.Model) -> list[Decision]:
    """Clips between convolutions, which would be a pair with Relu."""
    return [
        Decision(
            subject=node.outputs[0].name or "",
            verdict="left alone",
            reason="its Clip (ReLU6) has one bound for all channels",
        )
        for node in model.graph
        if node.op_type == "Clip"
        and node.inputs[0] is not None
        and (made_by := node.inputs[0].producer()) is not None
        and made_by.op_type == "Conv"
        and {reader.op_type for reader in consumers(node.outputs[0])} == {"Conv"}
    ]
