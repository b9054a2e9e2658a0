"""What tracing a loop records, against data recorded by hand; and the memory that it takes.

    python benchmarks/tracing.py

1. A loop of a denoiser and a decoder is run on ONNX Runtime by a user's own lines, which keep all
   that they feed, and traced by `compressor.pipelines`. The ranges of every value of both graphs
   are collected on both: the largest difference, where all calls are kept and where some are drawn.
2. Loops of 50 and of 500 calls of 1 MB are traced, each in a process of its own: peak resident
   memory of the process, and what is kept of the calls on disk.
"""

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from calibration.collect import collect
from calibration.dataset import open_dataset
from compressor.graph.files import load_model
from compressor.graph.shapes import input_specs
from compressor.pipelines.loop import SEED, Loop, UserLoop
from compressor.pipelines.tracing import Trace, recorded
from exporters.base import reference_target

Array = npt.NDArray[Any]
Calls = list[dict[str, Array]]

STEPS, UNITS = 40, 30
CALLS = (50, 500)
KEPT = 64
WIDTH = 2**18

_GRAPHS = {
    "unet": """<ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 8, 16, 16] x, int64[n] t) => (float[n, 8, 16, 16] eps)
        <float[1] scale = {0.05}, int64[3] axes = {1, 2, 3}>
        { f = Cast<to = 1>(t)
          s = Mul(f, scale)
          u = Unsqueeze(s, axes)
          a = Add(x, u)
          h = Conv<pads = [1, 1, 1, 1]>(a, w1)
          r = Relu(h)
          eps = Conv<pads = [1, 1, 1, 1]>(r, w2) }""",
    "vae": """<ir_version: 8, opset_import: ["" : 17]>
        g (float[n, 8, 16, 16] z) => (float[n, 3, 16, 16] image)
        { h = Conv<pads = [1, 1, 1, 1]>(z, w1)
          r = Relu(h)
          c = Conv<pads = [1, 1, 1, 1]>(r, w2)
          image = Tanh(c) }""",
}
_WEIGHTS = {"unet": ((16, 8, 3, 3), (8, 16, 3, 3)), "vae": ((16, 8, 3, 3), (3, 16, 3, 3))}


def generate(models: Mapping[str, Callable[..., Any]], seed: int, count: int) -> dict[str, Array]:
    """Denoise in steps, then decode."""
    x = np.random.default_rng(seed).standard_normal((count, 8, 16, 16)).astype(np.float32)
    for t in reversed(range(STEPS)):
        eps = models["unet"](x=x, t=np.full(count, t, np.int64))["eps"]
        x = (x - 0.05 * eps).astype(np.float32)
    return {"image": models["vae"](z=x)["image"]}


def models(folder: Path) -> dict[str, Path]:
    """Both graphs with random weights."""
    rng = np.random.default_rng(0)
    for name, text in _GRAPHS.items():
        model = onnx.parser.parse_model(text)
        for index, shape in enumerate(_WEIGHTS[name], start=1):
            weight = rng.standard_normal(shape).astype(np.float32) / np.sqrt(np.prod(shape[1:]))
            named = onnx.numpy_helper.from_array(weight.astype(np.float32), f"w{index}")
            model.graph.initializer.append(named)
        onnx.save(model, folder / f"{name}.onnx")
    return {name: folder / f"{name}.onnx" for name in _GRAPHS}


def by_hand(paths: Mapping[str, Path]) -> dict[str, Calls]:
    """All that the loop feeds, kept by lines that know nothing of this project."""
    calls: dict[str, Calls] = {name: [] for name in paths}

    def graph(name: str, path: Path) -> Callable[..., dict[str, Array]]:
        session = onnxruntime.InferenceSession(path)
        outputs = [one.name for one in session.get_outputs()]

        def run(**feeds: Array) -> dict[str, Array]:
            calls[name].append({key: array.copy() for key, array in feeds.items()})
            return dict(zip(outputs, session.run(None, feeds), strict=True))

        return run

    opened = {name: graph(name, path) for name, path in paths.items()}
    for seed in range(UNITS):
        generate(opened, seed, 1)
    return calls


def by_tracing(paths: Mapping[str, Path], folder: Path, capacity: int) -> Trace:
    """The same loop, traced."""
    target = reference_target()
    folder.mkdir()
    trace = Trace(folder, capacity, 0, {"unet": STEPS, "vae": 1})
    openers = {n: lambda p=p: target.open(p, threads=1, timed=False) for n, p in paths.items()}
    with Loop(UserLoop(generate, "generate"), recorded(openers, trace.record)) as loop:
        for seed in range(UNITS):
            trace.began()
            loop.run({SEED: np.array([seed])})
    return trace


def ranges(model: ir.Model, read: Callable[[], Iterator[dict[str, Array]]]) -> Array:
    """The least and the greatest of every value, (values, 2)."""
    names = [value.name for value in model.graph.inputs if value.dtype == ir.DataType.FLOAT]
    names += [node.outputs[0].name for node in model.graph if node.op_type != "Cast"]
    data = open_dataset(read, role="calibration").bind(input_specs(model))
    observed = collect(model, [str(name) for name in names], data, histograms=False).observed
    return np.array([[observed[str(n)].low, observed[str(n)].high] for n in names], np.float64)


def compare(folder: Path) -> None:
    """Print how far the ranges of traced calls are from those of calls recorded by hand."""
    paths = models(folder)
    hand = by_hand(paths)
    every = max(map(len, hand.values()))
    for label, capacity in (("all calls kept", 2 * every), ("256 of them drawn", 256)):
        trace = by_tracing(paths, folder / str(capacity), capacity)
        for name, path in paths.items():
            model, calls = load_model(path), hand[name]
            mine = ranges(model, partial(iter, calls))
            theirs = ranges(model, trace.calls(name))
            far = np.abs(mine - theirs).max() / np.abs(mine).max()
            widths = (theirs[:, 1] - theirs[:, 0]) / (mine[:, 1] - mine[:, 0])
            print(
                f"{name}: {label}: {trace.kept(name):,} of {len(calls):,} calls, "
                f"{len(mine)} values, largest difference of a range's ends {100 * far:.3f} %, "
                f"narrowest range {100 * widths.min():.1f} % as wide"
            )


class Wide:
    """A runner of 1 MB in and out."""

    on_caller = True

    def __init__(self) -> None:
        from compressor.graph.tensors import TensorSpec  # noqa: PLC0415 - of this process alone

        self.inputs = (TensorSpec("x", np.dtype(np.float32), ("n", WIDTH)),)
        self.outputs = (TensorSpec("y", np.dtype(np.float32), ("n", WIDTH)),)

    def __enter__(self) -> "Wide":
        return self

    def __exit__(self, *raised: object) -> None:
        pass

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Halve."""
        return {"y": np.asarray(feeds["x"]) / np.float32(2)}

    def bind(self, feeds: Mapping[str, Array]) -> Callable[[], None]:
        """Likewise."""
        return lambda: None


def trace_wide(calls: int) -> None:
    """Trace one loop of so many calls, and print what it took."""

    def loop(models: Mapping[str, Any], seed: int, count: int) -> dict[str, Array]:
        x = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
        for _ in range(calls):
            x = models["wide"](x=x)["y"] + np.float32(1)
        return {"out": x[:, :8]}

    with tempfile.TemporaryDirectory() as name:
        trace = Trace(Path(name), KEPT, 0, {"wide": calls})
        with Loop(UserLoop(loop, "loop"), recorded({"wide": Wide}, trace.record)) as opened:
            for seed in range(3):
                trace.began()
                opened.run({SEED: np.array([seed])})
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        disk = sum(path.stat().st_size for path in Path(name).iterdir())
    print(peak / 1024, disk / 2**20, trace.kept("wide"))


def main() -> None:
    """Both figures."""
    if len(sys.argv) > 1:
        trace_wide(int(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name))
    for calls in CALLS:
        command = [sys.executable, __file__, str(calls)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        memory, disk, kept = said.split()
        print(
            f"{calls} calls of 1 MB a unit, 3 units: peak memory {float(memory):.0f} MB, "
            f"{kept} calls kept in {float(disk):.1f} MB on disk"
        )


if __name__ == "__main__":
    main()
