"""Networks that enlarge images, as INT8: in the forms that the search chooses, and as they stand.

    python benchmarks/forms.py [--seconds 3]

A generator of 64 x 64 images (DCGAN, Radford et al. 2016), the same with Resize and Conv in place
of ConvTranspose, as the decoders of VAEs have it, and a vocoder of one axis (after MelGAN, Kumar
et al. 2019). Weights are random, with BatchNorm's statistics of their own data: speed depends on
shapes alone. Ours is `compress` with its defaults; beside it stands ONNX Runtime's
`quantize_static` (QDQ, per channel), which leaves ConvTranspose between Q and DQ. Each is timed in
turn with float on one thread; dB are 10 · log10(Σ y² / Σ (y - ŷ)²) over 64 samples. Ends with 1
when a requirement of this machine does not hold: with VNNI others than without.
"""

import argparse
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rich.console import Console
from rich.table import Table
from torch import nn

from compressor import Recipe, compress
from compressor.evaluation.latency import compare_latency
from compressor.graph.tensors import Array
from compressor.recipe.recipe import MeasureOptions
from compressor.results.measurements import LatencyConfig
from compressor.system.hardware import has_int8_dot
from exporters.base import find_target

SAMPLES, JUDGED = 128, 64
BATCHES = (1, 16)
LATENT, WIDTH, BANDS, FRAMES = 100, 64, 80, 32


@dataclass(frozen=True)
class Case:
    """A network, the shape of what it reads, and what is required of its speed and its dB.

    `required` has the speeds at `BATCHES`, first with VNNI and then without; None is not required.
    """

    name: str
    network: nn.Module
    shape: tuple[int, ...]
    required: tuple[tuple[float | None, ...], tuple[float | None, ...]]
    decibels: float = 0.0


def enlarged(inputs: int, outputs: int, *, resize: bool) -> list[nn.Module]:
    """Twice the size, by ConvTranspose 4 x 4 or by Resize and Conv 3 x 3."""
    if resize:
        layers = [nn.Upsample(scale_factor=2), nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)]
    else:
        layers = [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)]
    return [*layers, nn.BatchNorm2d(outputs), nn.ReLU()]


def generator(*, resize: bool) -> nn.Module:
    """From numbers to 64 x 64 images."""
    wide = [8 * WIDTH, 4 * WIDTH, 2 * WIDTH, WIDTH]
    layers: list[nn.Module] = [nn.ConvTranspose2d(LATENT, wide[0], 4, 1, 0, bias=False)]
    layers += [nn.BatchNorm2d(wide[0]), nn.ReLU()]
    for inputs, outputs in pairwise(wide):
        layers += enlarged(inputs, outputs, resize=resize)
    layers += enlarged(WIDTH, 3, resize=resize)[:-2]
    return nn.Sequential(nn.Unflatten(1, (LATENT, 1, 1)), *layers, nn.Tanh())


def vocoder() -> nn.Module:
    """From a spectrogram to 256 samples of sound a frame."""
    layers: list[nn.Module] = [nn.Conv1d(BANDS, 256, 7, padding=3), nn.LeakyReLU(0.2)]
    channels = 256
    for stride in (8, 8, 2, 2):
        layers += [
            nn.ConvTranspose1d(channels, channels // 2, 2 * stride, stride, stride // 2),
            nn.LeakyReLU(0.2),
            nn.Conv1d(channels // 2, channels // 2, 3, padding=1),
            nn.LeakyReLU(0.2),
        ]
        channels //= 2
    return nn.Sequential(*layers, nn.Conv1d(channels, 1, 7, padding=3), nn.Tanh())


def prepared(network: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """With BatchNorm's statistics, and weights of a size that keeps signals alive."""
    torch.manual_seed(0)
    for weight in network.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")
    network.train()
    with torch.no_grad():
        for _ in range(20):
            network(torch.randn(16, *shape))
    return network.eval()


def cases() -> list[Case]:
    """What is measured."""
    return [
        Case("DCGAN", generator(resize=False), (LATENT,), ((3.3, 2.8), (1.8, 1.6)), 30.0),
        Case("Resize + Conv", generator(resize=True), (LATENT,), ((3.0, 3.0), (1.7, 1.7))),
        Case("vocoder", vocoder(), (BANDS, FRAMES), ((3.0, None), (1.7, None))),
    ]


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # of a library without types
    """Batches for the runtime's own calibration."""

    def __init__(self, array: Array) -> None:
        self._batches = iter(np.split(array, len(array) // 16))

    def get_next(self) -> dict[str, Array] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"x": batch}


def models(case: Case, data: Array, folder: Path, seconds: float) -> dict[str, Path]:
    """Float, ours, and the runtime's own."""
    network = prepared(case.network, case.shape)
    paths = {name: folder / f"{name}.onnx" for name in ("float", "runtime")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.from_numpy(data[:2]),), paths["float"], dynamo=True, verbose=False,
            input_names=["x"], output_names=["y"], dynamic_shapes=[{0: torch.export.Dim("n")}],
        )  # fmt: skip
    quantize_static(
        paths["float"], paths["runtime"], _Reader(data), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    recipe = Recipe(measure=MeasureOptions(seconds=seconds))
    compress(
        paths["float"], calibration={"x": data}, evaluation={"x": data[:JUDGED]}, recipe=recipe,
        output=folder / "ours",
    )  # fmt: skip
    return {**paths, "ours": folder / "ours" / "model.onnx"}


def decibels(paths: dict[str, Path], name: str, data: Array) -> float:
    """Signal to noise of the outputs against float."""
    with (
        find_target("ort").open(paths["float"]) as one,
        find_target("ort").open(paths[name]) as two,
    ):
        exact, made = (runner.run({"x": data})["y"].astype(np.float64) for runner in (one, two))
    return 10 * float(np.log10(np.square(exact).sum() / np.square(exact - made).sum()))


def speed(paths: dict[str, Path], name: str, data: Array, seconds: float) -> str | float:
    """Over float, timed in turn on one thread; in words where the machine is too busy."""
    config = LatencyConfig(batch=len(data), threads=1)
    target = find_target("ort")
    with target.open(paths["float"]) as one, target.open(paths[name]) as two:
        race = compare_latency(one, two, {"x": data}, config, deciding=True, seconds=seconds)
    return race.speed if race.is_known else str(race.reason)


def row(case: Case, folder: Path, seconds: float) -> tuple[list[str], bool]:
    """One line of the table, and whether what is required holds."""
    rng = np.random.default_rng(0)
    data = rng.standard_normal((SAMPLES, *case.shape), np.float32)
    paths = models(case, data, folder, seconds)
    required = case.required[0 if has_int8_dot("host") else 1]
    cells, holds = [case.name], True
    for name in ("ours", "runtime"):
        for batch, least in zip(BATCHES, required, strict=True):
            found = speed(paths, name, data[:batch], seconds)
            cells.append(found if isinstance(found, str) else f"{found:.2f}x")
            if name == "ours" and least is not None and isinstance(found, float):
                cells[-1] += f" (≥ {least:g}: {'yes' if found >= least else 'NO'})"
                holds &= found >= least
        noise = decibels(paths, name, data[:JUDGED])
        cells.append(f"{noise:.1f}")
        holds &= name != "ours" or noise >= case.decibels
    return cells, holds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every network."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each comparison")
    seconds = parser.parse_args(arguments).seconds
    logging.disable(logging.WARNING)  # the exporter and the runtime advise
    dot = "with" if has_int8_dot("host") else "without"
    title = f"INT8 over float, one thread, a CPU {dot} an 8-bit dot product"
    table = Table(title=title, title_justify="left")
    for heading in ("network", *(f"{who}, {what}" for who in ("ours", "quantize_static") for what in
                                 (*(f"batch {batch}" for batch in BATCHES), "dB"))):  # fmt: skip
        table.add_column(heading)
    held = True
    for case in cases():
        with tempfile.TemporaryDirectory(prefix="forms-") as name:
            cells, holds = row(case, Path(name), seconds)
        table.add_row(*cells)
        held &= holds
    Console(file=io.TextIOWrapper(sys.stdout.buffer, encoding="utf-8"), width=140).print(table)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
