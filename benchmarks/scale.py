"""What GPTQ and calibration of a decoder of 7 billion parameters take, block by block on 8 nodes.

    python benchmarks/scale.py [--nodes 8] [--cores 16] [--network 1.25]

Measures on one thread here what a block is made of, and sums it up for a decoder of Llama's shape
(width 4,096, 32 layers, inner 11,008, 32,000 tokens). With P parameters of a block, T tokens of
calibration, inputs of k and outputs of n:

    float pass       2·P·T operations, one block after the other, on the node that hands blocks out
    second moments   2·k²·T for each input, where the block is worked on
    factor           c·k³ for each input
    rounding         r(k) seconds a weight

Products are counted as if they used all cores of a node, factor and rounding one. `--network` is in
GB/s. It is a model and no measurement: no such machines were there.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from compressor.quantization.blocks import BlockFormat, grid_of
from compressor.quantization.gptq import ordered, rounded

WIDTH, INNER, LAYERS, VOCABULARY = 4096, 11008, 32, 32000
MEASURED = (512, 1024, 2048)
"""Inputs at which factor and rounding are measured."""
ROWS = 512
FORM = BlockFormat(4, 32, False)


@dataclass(frozen=True)
class Costs:
    """What one thread of this machine takes.

    Attributes:
        product: Operations a second of float32 products.
        factor: c, seconds for k = 1.
        rounding: Seconds a weight: a + b·k.
    """

    product: float
    factor: float
    rounding: tuple[float, float]

    def weight(self, inputs: int) -> float:
        """Seconds to round a weight of a matrix with so many inputs."""
        base, more = self.rounding
        return base + more * inputs


def seconds(work: Callable[[], object]) -> float:
    """The lesser of two runs."""
    found = []
    for _ in range(2):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def measured() -> Costs:
    """Products, factors and rounding of a few sizes."""
    rng = np.random.default_rng(0)
    one = rng.standard_normal((2048, 2048), dtype=np.float32)
    product = 2 * 2048**3 / seconds(lambda: one @ one)
    factors, rounds = [], []
    for inputs in MEASURED:
        x = rng.standard_normal((inputs + 64, inputs))
        moments = x.T @ x
        weights = rng.standard_normal((ROWS, inputs)).astype(np.float32)
        factors.append(seconds(partial(ordered, moments)) / inputs**3)
        known, grid = ordered(moments), grid_of(weights, FORM, np.diag(moments))
        started = time.perf_counter()
        grid_of(weights, FORM, np.diag(moments))
        rounded(weights, moments, partial(grid.nearest, form=FORM), known=known)
        rounds.append((time.perf_counter() - started) / weights.size)
    slope, base = np.polyfit(MEASURED, rounds, 1)
    return Costs(product, factors[-1], (max(base, 0.0), max(slope, 0.0)))


def main() -> None:
    """Measure, sum up, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in (("nodes", 8), ("cores", 16), ("samples", 128), ("tokens", 2048)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--network", type=float, default=1.25, help="GB/s")
    asked = parser.parse_args()
    costs, tokens = measured(), asked.samples * asked.tokens
    parameters = (4 * WIDTH + 3 * INNER) * WIDTH
    whole = costs.product * asked.cores
    grams = 3 * WIDTH**2 + INNER**2
    handed = 4 * tokens * WIDTH
    parts = {
        "float pass": 2 * parameters * tokens / whole,
        "second moments": 2 * grams * tokens / whole,
        "factors": costs.factor * (3 * WIDTH**3 + INNER**3),
        "rounding": (4 * WIDTH + 2 * INNER) * WIDTH * costs.weight(WIDTH)
        + WIDTH * INNER * costs.weight(INNER),
    }
    decided = 2 * parameters * tokens / whole + sum(list(parts.values())[1:])
    moved = 4 * parameters + handed + parameters * 0.56
    sent = moved / (asked.network * 1e9)
    head = LAYERS * (parts["float pass"] + sent)
    others = LAYERS * decided / max(1, asked.nodes - 1)
    table = Table(
        "a block",
        "",
        title=f"7·10⁹ parameters, {tokens:,} tokens, {asked.nodes} nodes of {asked.cores} cores",
    )
    table.add_row("parameters", f"{parameters / 1e6:.0f} M, {4 * parameters / 1e9:.2f} GB")
    for name, value in parts.items():
        table.add_row(name, f"{value:.0f} s")
    table.add_row("handed on", f"{handed / 1e9:.1f} GB")
    table.add_row("moved to and from a node", f"{moved / 1e9:.1f} GB, {sent:.0f} s")
    table.add_row("second moments of the widest input", f"{4 * 8 * INNER**2 / 1e9:.1f} GB")
    table.add_section()
    table.add_row("memory of a node", f"{(4 * parameters * 3 + 7 * 8 * INNER**2) / 1e9:.1f} GB")
    table.add_row("bytes moved in all", f"{LAYERS * moved / 1e9:.0f} GB")
    table.add_row("the node that hands out", f"{head / 3600:.1f} h")
    table.add_row("the others", f"{others / 3600:.1f} h")
    table.add_row("in all", f"{(max(head, others) + decided) / 3600:.1f} h")
    table.add_row("one node alone", f"{LAYERS * (parts['float pass'] + decided) / 3600:.1f} h")
    Console().print(table)
    print(
        f"one thread: {costs.product / 1e9:.0f}·10⁹ operations/s; factor {costs.factor:.2e}·k³ s; "
        f"rounding {costs.weight(1024) * 1e6:.2f} µs a weight at 1,024 inputs, "
        f"{costs.weight(INNER) * 1e6:.2f} at {INNER:,}"
    )


if __name__ == "__main__":
    main()
