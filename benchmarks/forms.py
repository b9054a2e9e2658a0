"""Generative networks as INT8: in the forms that the search chooses, and as they stand.

    python benchmarks/forms.py [NETWORK...] [--seconds 3]

A generator of 64 x 64 images (DCGAN, Radford et al. 2016), the same with Resize and Conv in place
of ConvTranspose, as the decoders of VAEs have it, a vocoder of one axis (after MelGAN, Kumar et al.
2019), a diffusion model's U-Net with attention (after Ho et al. 2020), and one step of a decoder
like T5's (Raffel et al. 2020). Weights are random, with BatchNorm's statistics of their own data:
speed depends on shapes alone. Ours is `compress` with its defaults, for the U-Net within a budget
of 0.14 % of the cosine, which is 25.5 dB; beside it stands ONNX Runtime's `quantize_static` (QDQ,
per channel), which leaves all operators as they are. Each is timed in turn with float on one
thread; dB are 10 · log10(Σ y² / Σ (y - ŷ)²) over 64 samples. Ends with 1
when a requirement of this machine does not hold: with VNNI others than without.
"""

import argparse
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rich.console import Console
from rich.table import Table
from torch import nn

from compressor import Recipe, compress
from compressor.evaluation.latency import compare_latency
from compressor.graph.tensors import Arrays
from compressor.recipe.budget import BudgetOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.results.measurements import LatencyConfig
from compressor.system.hardware import has_int8_dot
from exporters.base import find_target
from forms_networks import (
    BANDS,
    CACHED,
    FRAMES,
    HEADS,
    LATENT,
    LAYERS,
    MODEL,
    PIXELS,
    TOKENS,
    Decoder,
    UNet,
    generator,
    vocoder,
)

SAMPLES, JUDGED = 128, 64
BATCHES = (1, 16)

Draw = Callable[[np.random.Generator, int], Arrays]
"""Inputs of so many samples."""


@dataclass(frozen=True)
class Case:
    """A network, what it reads, and what is required of its speed and its dB.

    `required` has the speeds at `BATCHES`, first with VNNI and then without; None is not required.
    `drop` is what is asked of the search: its budget, of the cosine of outputs.
    """

    name: str
    network: Callable[[], nn.Module]
    draw: Draw
    required: tuple[tuple[float | None, ...], tuple[float | None, ...]]
    decibels: float = 0.0
    outputs: int = 1
    drop: str | None = None


def normal(*shape: int) -> Draw:
    """One input x of numbers around zero."""
    return lambda rng, count: {"x": rng.standard_normal((count, *shape), np.float32)}


def noisy(rng: np.random.Generator, count: int) -> Arrays:
    """Images of noise, and times."""
    x = rng.standard_normal((count, 3, PIXELS, PIXELS), np.float32)
    return {"x": x, "t": rng.integers(0, 1000, count)}


def step(rng: np.random.Generator, count: int) -> Arrays:
    """A token, the bias of its positions, and both caches."""
    sizes = {
        "x": (1, MODEL),
        "bias": (HEADS, 1, CACHED + 1),
        "past": (LAYERS, 2, HEADS, CACHED, MODEL // HEADS),
        "read": (LAYERS, 2, HEADS, TOKENS, MODEL // HEADS),
    }
    # Heads are read without a factor, as T5 has it: what is near zero keeps the softmax soft.
    return {
        name: (0.3 if name != "x" else 1) * rng.standard_normal((count, *size), np.float32)
        for name, size in sizes.items()
    }


def prepared(case: Case) -> nn.Module:
    """With BatchNorm's statistics, and weights of a size that keeps signals alive."""
    torch.manual_seed(0)
    network = case.network()
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    kinds = {type(module) for module in network.modules()}
    if not kinds & {nn.BatchNorm2d, nn.ConvTranspose1d}:
        return network.eval()
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
    if nn.BatchNorm2d not in kinds:
        return network.eval()
    network.train()
    rng = np.random.default_rng(1)
    with torch.no_grad():
        for _ in range(20):
            network(*(torch.from_numpy(array) for array in case.draw(rng, 16).values()))
    return network.eval()


def cases() -> list[Case]:
    """What is measured."""
    latent, sound = normal(LATENT), normal(BANDS, FRAMES)
    gan, resized = (lambda: generator(resize=False)), (lambda: generator(resize=True))
    return [
        Case("DCGAN", gan, latent, ((3.3, 2.8), (1.8, 1.6)), 30.0),
        Case("Resize + Conv", resized, latent, ((3.0, 3.0), (1.7, 1.7))),
        Case("vocoder", vocoder, sound, ((3.0, None), (1.7, None))),
        Case("U-Net", UNet, noisy, ((2.2, None), (1.5, None)), 25.0, drop="0.14%"),
        Case("T5 step", Decoder, step, ((2.0, None), (1.4, None)), outputs=2),
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # of a library without types
    """Batches for the runtime's own calibration."""

    def __init__(self, data: Arrays) -> None:
        count = len(next(iter(data.values())))
        parts = range(0, count, 16)
        self._batches = iter([taken(data, slice(n, n + 16)) for n in parts])

    def get_next(self) -> Arrays | None:
        return next(self._batches, None)


def taken(data: Arrays, which: slice) -> Arrays:
    """Some of the samples."""
    return {name: array[which] for name, array in data.items()}


def models(case: Case, data: Arrays, folder: Path, seconds: float) -> dict[str, Path]:
    """Float, ours, and the runtime's own."""
    network = prepared(case)
    names = ["y", *(f"y{i}" for i in range(1, case.outputs))]
    batch = torch.export.Dim("n")
    paths = {name: folder / f"{name}.onnx" for name in ("float", "runtime")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, tuple(map(torch.from_numpy, taken(data, slice(2)).values())),
            paths["float"], dynamo=True, verbose=False, input_names=list(data),
            output_names=names, dynamic_shapes=[{0: batch}] * len(data),
        )  # fmt: skip
    try:
        quantize_static(
            paths["float"], paths["runtime"], _Reader(data), quant_format=QuantFormat.QDQ,
            per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
    except ValueError as error:
        print(f"{case.name}: quantize_static fails: {error}", file=sys.stderr)
        del paths["runtime"]
    recipe = Recipe(
        measure=MeasureOptions(seconds=seconds), budget=BudgetOptions(max_drop=case.drop)
    )
    compress(
        paths["float"], calibration=taken(data, slice(JUDGED, None)),
        evaluation=taken(data, slice(JUDGED)), recipe=recipe, output=folder / "ours",
    )  # fmt: skip
    return {**paths, "ours": folder / "ours" / "model.onnx"}


def decibels(paths: dict[str, Path], name: str, data: Arrays) -> float:
    """Signal to noise of the outputs against float."""
    with (
        find_target("ort").open(paths["float"]) as one,
        find_target("ort").open(paths[name]) as two,
    ):
        exact, made = (runner.run(data)["y"].astype(np.float64) for runner in (one, two))
    noise = float(np.square(exact - made).sum())
    return 10 * float(np.log10(np.square(exact).sum() / noise)) if noise else float("inf")


def speed(paths: dict[str, Path], name: str, data: Arrays, seconds: float) -> str | float:
    """Over float, timed in turn on one thread; in words where the machine is too busy."""
    config = LatencyConfig(batch=len(next(iter(data.values()))), threads=1)
    target = find_target("ort")
    with target.open(paths["float"]) as one, target.open(paths[name]) as two:
        race = compare_latency(one, two, data, config, deciding=True, seconds=seconds)
    return race.speed if race.is_known else str(race.reason)


def row(case: Case, folder: Path, seconds: float) -> tuple[list[str], bool]:
    """One line of the table, and whether what is required holds."""
    rng = np.random.default_rng(0)
    data = case.draw(rng, SAMPLES)
    paths = models(case, data, folder, seconds)
    required = case.required[0 if has_int8_dot("host") else 1]
    cells, holds = [case.name], True
    for name in ("ours", "runtime"):
        if name not in paths:
            cells += ["fails"] * (len(BATCHES) + 1)
            continue
        for batch, least in zip(BATCHES, required, strict=True):
            found = speed(paths, name, taken(data, slice(batch)), seconds)
            cells.append(found if isinstance(found, str) else f"{found:.2f}x")
            if name == "ours" and least is not None and isinstance(found, float):
                cells[-1] += f" (≥ {least:g}: {'yes' if found >= least else 'NO'})"
                holds &= found >= least
        noise = decibels(paths, name, taken(data, slice(JUDGED)))
        cells.append(f"{noise:.1f}")
        holds &= name != "ours" or noise >= case.decibels
    return cells, holds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    known = {case.name: case for case in cases()}
    parser.add_argument("networks", nargs="*", default=list(known), help=", ".join(known))
    parser.add_argument("--seconds", type=float, default=3.0, help="for each comparison")
    options = parser.parse_args(arguments)
    seconds, unknown = options.seconds, set(options.networks) - set(known)
    if unknown:
        parser.error(f"no such network: {', '.join(unknown)}; known are {', '.join(known)}")
    logging.disable(logging.WARNING)  # the exporter and the runtime advise
    dot = "with" if has_int8_dot("host") else "without"
    title = f"INT8 over float, one thread, a CPU {dot} an 8-bit dot product"
    table = Table(title=title, title_justify="left")
    for heading in ("network", *(f"{who}, {what}" for who in ("ours", "quantize_static") for what in
                                 (*(f"batch {batch}" for batch in BATCHES), "dB"))):  # fmt: skip
        table.add_column(heading)
    held = True
    for case in map(known.__getitem__, options.networks):
        with tempfile.TemporaryDirectory(prefix="forms-") as name:
            cells, holds = row(case, Path(name), seconds)
        table.add_row(*cells)
        print(*cells, sep=" | ", file=sys.stderr, flush=True)
        held &= holds
    Console(file=io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8"), width=140).print(table)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
