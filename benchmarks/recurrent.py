"""An LSTM alone as dynamic INT8: from which size it pays, and with which weights it is right.

    python benchmarks/recurrent.py

One LSTM over 32 steps, as wide as its input, with weights drawn as PyTorch draws them. It is timed
against float in turn, on one thread. Signal to noise is that of the states, with weights of 7 bits,
of 8, and of 8 in pairs that fit: without an 8-bit dot product others do not fit into sums of 16
bits. Ends with 1 where the weights that the policy takes are a decibel worse than others, or where
a wide LSTM does not gain.
"""

import sys
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compressor.evaluation.latency import compare_latency
from compressor.graph.tensors import Arrays
from compressor.quantization.dynamic import insert_dynamic
from compressor.results.measurements import LatencyConfig, LatencyResult
from exporters.base import find_target

TARGET = find_target("ort")
STEPS, SECONDS = 32, 2.0
HIDDEN, BATCHES = (32, 64, 256, 512), (1, 8)
WIDE = 256
"""Units from which it has to gain."""
WEIGHTS = {"7 bits": (7, False), "8 bits": (8, False), "8, pairs fit": (8, True)}
"""Name → bits of weights, and whether pairs are made to fit into 16 bits."""
Decibels = dict[str, float]


@dataclass(frozen=True)
class Case:
    """One size, measured.

    Attributes:
        race: Of float and the weights that the policy takes.
        decibels: Signal to noise by name of weights.
    """

    hidden: int
    batch: int
    race: LatencyResult
    decibels: Decibels


def network(hidden: int, rng: np.random.Generator) -> ir.Model:
    """An LSTM from x (steps, n, hidden) to y (steps, 1, n, hidden)."""
    graph = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[{STEPS},n,{hidden}] x, float w, float r, float b)
            => (float[{STEPS},1,n,{hidden}] y)
        {{ y = LSTM<hidden_size={hidden}>(x, w, r, b) }}"""
    )
    shapes = {"w": (1, 4 * hidden, hidden), "r": (1, 4 * hidden, hidden), "b": (1, 8 * hidden)}
    for value in list(graph.graph.inputs):
        if value.name in shapes:
            drawn = rng.uniform(-1, 1, shapes[value.name]) / np.sqrt(hidden)
            graph.graph.inputs.remove(value)
            value.const_value = ir.tensor(drawn.astype(np.float32), name=value.name)
            graph.graph.register_initializer(value)
    graph.graph[0].name = "lstm"
    return graph


def integer(graph: ir.Model, bits: int | None = None, pairs: bool | None = None) -> ir.Model:
    """As dynamic INT8; with the weights of the policy unless told otherwise."""
    made = graph.clone()
    policy = TARGET.policy("host").with_schemes(weight_bits=bits, pairs=pairs)
    insert_dynamic(made, ["lstm"], policy)
    return made


def signal_to_noise(graph: ir.Model, made: ir.Model, feeds: Arrays) -> float:
    """10 · log10(Σ y² / Σ (y - y_q)²)."""
    with TARGET.open(graph) as original, TARGET.open(made) as result:
        expected, found = (one.run(feeds)["y"].astype(np.float64) for one in (original, result))
    return 10 * float(np.log10(np.square(expected).sum() / np.square(found - expected).sum()))


def measured(hidden: int, batch: int) -> Case:
    """All weights, and a race of those that the policy takes."""
    rng = np.random.default_rng(0)
    graph = network(hidden, rng)
    feeds = {"x": rng.standard_normal((STEPS, batch, hidden)).astype(np.float32)}
    decibels = {
        name: signal_to_noise(graph, integer(graph, *how), feeds) for name, how in WEIGHTS.items()
    }
    config = LatencyConfig(batch=batch, threads=1)
    with TARGET.open(graph) as original, TARGET.open(integer(graph)) as result:
        race = compare_latency(original, result, feeds, config, deciding=True, seconds=SECONDS)
    return Case(hidden, batch, race, decibels)


def main() -> int:
    """Measure every size."""
    scheme = TARGET.policy("host").weight
    (taken,) = (name for name, how in WEIGHTS.items() if how == (scheme.bits, scheme.pairs))
    print(f"weights of {taken}; speed over float with its 95 % interval, signal to noise in dB")
    names = "".join(f"{name:>14}" for name in WEIGHTS)
    print(f"{'hidden':>6} {'batch':>5} {'float ms':>8} {'speed':>18}{names}")
    kept = True
    for hidden in HIDDEN:
        for batch in BATCHES:
            case = measured(hidden, batch)
            race, decibels = case.race, case.decibels
            speed = f"{race.speed:.2f} ({race.ends.low:.2f} to {race.ends.high:.2f})"
            print(
                f"{hidden:6} {batch:5} {race.milliseconds[0]:8.2f} {speed:>18}"
                f"{''.join(f'{decibels[name]:14.1f}' for name in WEIGHTS)}",
                flush=True,
            )
            kept &= decibels[taken] >= max(decibels.values()) - 1
            kept &= hidden < WIDE or race.verdict == "faster"
    print("holds" if kept else "DOES NOT HOLD")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
