"""Speed-ups while others use the machine, against those of an idle one.

    python benchmarks/busy.py --runs 20 --resnet20 resnet20_cifar10.pt

A ResNet-18-like network at 96 pixels, a ResNet-20 and the sample's network, each as INT8 against
float and as float against itself, at batch 1 and 4. They are raced as a run of `compress` races
them, on two cores: idle, with three burners, and with three that burn in bursts. The truth is the
median of the idle races; the last column tells how much others took, so that it shows whether idle
was idle. Where it was not, one thread still has a truth, of CPU time. Weights are random where no
file is given: speed does not depend on them.

What is required: on one thread every busy ratio within 10 % of the idle one, on two within 15 % or
none with its reason, and 1.0 in 19 of 20 intervals of a model against itself. Ends with 1 where one
of them is missed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compressor.checkpoint.prepare import prepare
from compressor.evaluation.racing import race
from compressor.folding import fold
from compressor.graph.files import save_model
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from compressor.recipe.recipe import Recipe
from compressor.results.measurements import LatencyConfig, LatencyResult
from exporters.base import find_target
from resnet import resnet20

TARGET = find_target("ort")
WITHIN = {1: 0.10, 2: 0.15}
"""Relative error that is allowed, by threads."""
HOLDS = 0.95
"""Share of the races of a model with itself whose interval has to hold 1."""
BURN = "while True: pass"
BURST = """
import random, time
draw = random.Random({seed})
while True:
    end = time.monotonic() + draw.uniform(0.3, 1.0)
    while time.monotonic() < end: pass
    time.sleep(draw.uniform(0.3, 1.5))
"""
LOADS = {
    "idle": (),
    "burners": (BURN,) * 3,
    "bursts": tuple(BURST.format(seed=seed) for seed in range(3)),
}
DIGITS = Path(__file__).resolve().parents[1] / "samples" / "digits"


class Basic(nn.Module):
    """Two 3x3 convolutions around a shortcut, which is projected where the size changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        self.short = (
            nn.Identity()
            if same
            else nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, inputs, side, side] → [batch, outputs, side/stride, side/stride]."""
        return nn.functional.relu(self.body(x) + self.short(x))


def resnet18() -> nn.Module:
    """He et al. 2015, table 1, for ten classes."""
    stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    widths = (64, 64, 128, 256, 512)
    blocks: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
    for number, (before, width) in enumerate(pairwise(widths)):
        blocks += [Basic(before, width, 1 if number == 0 else 2), Basic(width, width, 1)]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def digits() -> nn.Module:
    """The sample's own network."""
    sys.path.insert(0, str(DIGITS))
    made: nn.Module = import_module("model").build()  # beside the sample, not beside this file
    return made


def module(name: str, weights: Path | None) -> tuple[nn.Module, tuple[int, ...]]:
    """A network in evaluation mode and the shape of a sample."""
    torch.manual_seed(0)
    if name == "resnet18":
        return resnet18().eval(), (3, 96, 96)
    if name == "digits":
        return digits().eval(), (1, 32, 32)
    made = resnet20()
    if weights is not None:
        found = torch.load(weights, weights_only=True, map_location="cpu")
        found = found.get("state_dict", found)
        made.load_state_dict({key.removeprefix("module."): v for key, v in found.items()})
    return made.eval(), (3, 32, 32)


def built(name: str, weights: Path | None, folder: Path) -> tuple[Path, Path, str]:
    """Files of a network in float and in INT8, and the name of its input."""
    made, shape = module(name, weights)
    x = np.random.default_rng(0).standard_normal((16, *shape)).astype(np.float32)
    prepared = prepare(made, target=TARGET, recipe=Recipe(), calibration=x)
    plain = fold(prepared.model, feeds=prepared.feeds(2, 0))[0]
    policy = TARGET.policy("host")
    assert prepared.calibration is not None
    choice = calibrate(plain, prepared.calibration, policy, CalibrationOptions("minmax", batch=8))
    bits = policy.weight.bits
    integer = quantize_static(plain, choice.integer, choice.ranges, policy, weight_bits=bits)
    files = folder / f"{name}-float.onnx", folder / f"{name}-int8.onnx"
    for model, path in zip((plain, integer), files, strict=True):
        save_model(model, path)
    return (*files, plain.graph.inputs[0].name or "")


@contextmanager
def load(scripts: Sequence[str]) -> Iterator[None]:
    """Others at work, each in a process of its own."""
    others = [subprocess.Popen([sys.executable, "-c", script]) for script in scripts]
    try:
        time.sleep(0.5 if others else 0.0)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@dataclass
class Cell:
    """One network at one batch on so many threads.

    Attributes:
        against: Load → INT8 against float.
        itself: Load → float against itself.
    """

    name: str
    batch: int
    threads: int
    against: dict[str, list[LatencyResult]] = field(default_factory=dict)
    itself: dict[str, list[LatencyResult]] = field(default_factory=dict)

    @property
    def truth(self) -> float | None:
        """The median idle ratio; None where the machine was too busy to have one."""
        known = [one.speed for one in self.against.get("idle", ()) if one.is_known]
        return statistics.median(known) if known else None

    def errors(self, under: str) -> list[float]:
        """Relative, of the races that have a ratio."""
        truth = self.truth
        if truth is None:
            return []
        return [one.speed / truth - 1 for one in self.against[under] if one.is_known]

    def wrong(self, under: str) -> int:
        """Races further off than is allowed, or without a ratio where there has to be one."""
        off = sum(abs(error) > WITHIN.get(self.threads, 0.15) for error in self.errors(under))
        missing = sum(not one.is_known for one in self.against[under])
        return off + (missing if self.threads == 1 else 0)

    def holding(self, under: str) -> tuple[int, int]:
        """Races with itself whose interval holds 1, of those that have one."""
        ends = [one.ends for one in self.itself[under] if one.is_known]
        return sum(1.0 in one for one in ends), len(ends)


def measured(cell: Cell, files: tuple[Path, Path, str], runs: int, seconds: float) -> None:
    """Every load, so many times."""
    plain, integer, name = files
    shape = module_shape(cell.name)
    rng = np.random.default_rng(1)
    feeds = {name: rng.standard_normal((cell.batch, *shape)).astype(np.float32)}
    config = LatencyConfig(batch=cell.batch, threads=cell.threads)

    def raced(other: Path) -> LatencyResult:
        return race(
            lambda: TARGET.open(plain, threads=cell.threads),
            lambda: TARGET.open(other, threads=cell.threads),
            feeds,
            config,
            deciding=True,
            seconds=seconds,
            again=1,
        )

    for under in cell.against:
        with load(LOADS[under]):
            for _ in range(runs):
                cell.against[under].append(raced(integer))
                cell.itself[under].append(raced(plain))


def module_shape(name: str) -> tuple[int, ...]:
    """Of a sample."""
    return {"resnet18": (3, 96, 96), "resnet20": (3, 32, 32), "digits": (1, 32, 32)}[name]


def told(cell: Cell, under: str) -> str:
    """A line of the table."""
    races, errors = cell.against[under], cell.errors(under)
    missing = sum(not one.is_known for one in races)
    holding, of = cell.holding(under)
    shares = [one.conditions.foreign for one in races if one.conditions is not None]
    foreign = statistics.mean(share for share in shares if share is not None) if shares else 0.0
    spread = f"{100 * min(errors):+6.1f} {100 * max(errors):+6.1f}" if errors else "     -      -"
    truth = "     -" if cell.truth is None else f"{cell.truth:6.2f}"
    return (
        f"{cell.name:9} {cell.batch:5} {cell.threads:7} {under:8} {truth} {spread} "
        f"{cell.wrong(under):5} {missing:4} {holding:4}/{of:<4} {100 * foreign:5.0f} %"
    )


def options() -> argparse.Namespace:
    """What to measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="races of each kind [20]")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a race at most [3]")
    parser.add_argument("--cores", type=int, default=2, help="to run and burn on [2]")
    parser.add_argument("--resnet20", type=Path, help="its weights; random ones without")
    parser.add_argument("--models", nargs="+", default=["resnet18", "resnet20", "digits"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), default=list(LOADS))
    return parser.parse_args()


def main() -> int:
    """Measure, print, and hold against what is required."""
    asked = options()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.cores])
    print(
        "model     batch threads load      truth  error %, from-to  wrong none  A/A holds foreign"
    )
    wrong = holding = of = 0
    with tempfile.TemporaryDirectory(prefix="busy-") as name:
        for model in asked.models:
            files = built(model, asked.resnet20, Path(name))
            for batch in asked.batches:
                for threads in asked.threads:
                    cell = Cell(model, batch, threads)
                    loads = dict.fromkeys(["idle", *asked.loads])
                    cell.against = {under: [] for under in loads}
                    cell.itself = {under: [] for under in loads}
                    measured(cell, files, asked.runs, asked.seconds)
                    for under in loads:
                        print(told(cell, under), flush=True)
                        wrong += cell.wrong(under)
                        holds, known = cell.holding(under)
                        holding, of = holding + holds, of + known
    kept = wrong == 0 and holding >= HOLDS * of
    print(f"{wrong} wrong; 1.0 lies in {holding} of {of} intervals of a model against itself")
    print("holds" if kept else "DOES NOT HOLD")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
