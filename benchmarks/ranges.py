"""CIFAR-10 ResNet-20: range methods beside each other, their cost, and one outlier.

    python benchmarks/ranges.py --data DIR --model FILE

DIR and FILE as for `cifar.py`. Every method quantizes the same float graph on the same 512 images
in fresh processes, in turn with `quantize_static(CalibrateMethod.Entropy)`; medians of three. Time
is calibration and quantization from file to file, memory the peak of the process. In the planted
case one pixel of one calibration image, another in every round, is a hundred times too large; one
round alone says little, as near ties make a quarter of a point of chance on 2,000 test images. Ends
with 1 when a requirement does not hold.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from operator import itemgetter
from pathlib import Path

import numpy as np
from rich.console import Console

from calibration.dataset import CalibrationSet, open_dataset
from cifar_data import cifar_job, options_of
from compressor.graph.files import load_model, save_model
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from exporters.base import find_target
from processes import Figures, Row, show
from versus import (
    CALIBRATION_BATCH,
    CALIBRATION_SAMPLES,
    Job,
    bound,
    export_float,
    faster_than,
    quantize_by_runtime,
    resident_peak,
    top1,
)

METHODS = ("minmax", "percentile", "samples", "entropy", "mse", "auto")
RUNTIME = "quantize_static"
PLANTED = 100.0
IMAGES = (7, 100, 193, 286, 379, 472)
"""Where the outlier is planted, one a round."""


def planted(data: CalibrationSet, image: int) -> CalibrationSet:
    """The same samples, with the largest pixel of one of them a hundred times as large."""
    batch = data.head(CALIBRATION_SAMPLES)
    (name, images), *_ = batch.inputs.items()
    images = images.copy()
    flat = images[image].reshape(-1)
    flat[np.argmax(np.abs(flat))] *= PLANTED
    return open_dataset({name: images})


def quantized_by_us(job: Job, source: Path, path: Path, method: str, outlier: int | None) -> None:
    """Calibrate and quantize, from file to file."""
    model = infer_shapes(load_model(source))
    policy = find_target("ort").policy("host")
    data = job.data(job.calibration, CALIBRATION_SAMPLES).bind(input_specs(model))
    if outlier is not None:
        data = planted(data, outlier)
    options = CalibrationOptions(method, batch=CALIBRATION_BATCH)
    choice = calibrate(model, data, policy, options)
    bits = policy.weight.bits
    made = quantize_static(model, choice.integer, choice.ranges, policy, weight_bits=bits)
    save_model(made, path)


def measured(what: str, folder: Path, image: int) -> Figures:
    """Seconds and peak memory of one method in this process, then the accuracy of the result."""
    job = Job.load(folder / "job.json")
    source, path = folder / "float.onnx", folder / f"{what.replace(' ', '_')}.onnx"
    method, _, case = what.partition(" ")
    started = time.perf_counter()
    with resident_peak() as peak:
        if method == RUNTIME:
            quantize_by_runtime(job, source, path)
        elif method != "float":
            quantized_by_us(job, source, path, method, image if case == "outlier" else None)
        seconds = time.perf_counter() - started
    with find_target("ort").open(source if method == "float" else path) as runner:
        accuracy = top1(runner, bound(job, runner, job.evaluation))
    return {f"top1 {what}": accuracy, f"s {what}": seconds, f"MB {what}": peak[0] / 1e6}


def child(what: str, folder: Path, image: int) -> Figures:
    """The same in a fresh process."""
    command = [sys.executable, __file__, "--child", what, str(folder), str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stderr}\n{what} failed, see above")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def rows() -> list[Row]:
    """The table: accuracies, what they cost, and the requirements."""

    def drop(what: str, other: str = "float") -> Row:
        return Row(f"drop, {what}", lambda f: f[f"top1 {other}"] - f[f"top1 {what}"], "{:+.2f}")

    def against(figure: str, what: str, most: float) -> Row:
        words = {"s": "time", "MB": "peak memory"}[figure]
        return Row(
            f"{words}, {what}, of {RUNTIME}'s",
            lambda f: f[f"{figure} {what}"] / f[f"{figure} {RUNTIME}"],
            "{:.2f}x",
            f"≤ {most}",
            lambda v: v <= most,
        )

    table = [Row("top-1, float", lambda f: f["top1 float"], "{:.2f} %")]
    table += [drop(method) for method in METHODS if method != "auto"] + [drop(RUNTIME)]
    automatic = drop("auto")
    table.append(Row(automatic.name, automatic.value, "{:+.2f}", "≤ 0.3", lambda v: v <= 0.301))
    table.append(drop("minmax outlier", "minmax"))
    dirty = drop("auto outlier", "auto")
    table.append(Row(dirty.name, dirty.value, "{:+.2f}", "≤ 0.3", lambda v: v <= 0.301))
    for what in (*METHODS, RUNTIME):
        table.append(Row(f"seconds, {what}", itemgetter(f"s {what}"), "{:.2f} s"))
        table.append(Row(f"peak memory, {what}", itemgetter(f"MB {what}"), "{:.0f} MB"))
    table += [against("s", "entropy", 0.5), against("s", "auto", 1.0)]
    table += [against("MB", "entropy", 0.3), against("MB", "auto", 0.3)]
    speed = Row("speed, auto over minmax", lambda f: f["speed"], "{:.3f}x")
    return [*table, Row(speed.name, speed.value, speed.form, "≥ 0.97", lambda v: v >= 0.97)]


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = options_of(__doc__)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, where, image = options.child
        print(json.dumps(measured(what, Path(where), int(image))))
        return
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    job = cifar_job(options.data, options.model)
    runs: list[Figures] = []
    with tempfile.TemporaryDirectory(prefix="calibration-") as name:
        folder = Path(name)
        job.save(folder / "job.json")
        export_float(job, folder / "float.onnx")
        for number in range(1, options.processes + 1):
            Console(stderr=True).print(f"round {number} of {options.processes}", style="dim")
            figures: Figures = {}
            for what in ("float", RUNTIME, *METHODS, "minmax outlier", "auto outlier"):
                figures |= child(what, folder, IMAGES[(number - 1) % len(IMAGES)])
            runs.append(figures)
        target = find_target("ort")
        plain, chosen = (target.open(folder / f"{m}.onnx") for m in ("minmax", "auto"))
        speed = faster_than(plain, chosen, job, 1)
    medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    title = f"Calibration of ResNet-20, medians of {options.processes} processes"
    sys.exit(not show(title, rows(), medians | {"speed": speed}))


if __name__ == "__main__":
    main()
