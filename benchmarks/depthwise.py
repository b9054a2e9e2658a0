"""A depthwise CNN whose channels differ widely, as INT8: ours and ONNX Runtime's `quantize_static`.

    python benchmarks/depthwise.py --data DIR [--folder DIR]

The network is that of `depthwise_net.py`, like MobileNetV2; it is trained once on train.npz, in
minutes, and kept as depthwise.pt in the folder. Training for minutes leaves its channels alike, and
INT8 costs nothing. So hidden channels are then rescaled, exactly, by random factors: that gives the
spread that Nagel et al. 2019 (arXiv 1906.04721, section 3.1 and figure 2) found in a trained
MobileNetV2, and the float network computes the same. Per-channel min/max calibration loses points
by it, which the first requirement checks.

Ours is the command's own function: INT8 whatever its speed, with ranges alone, then with channels
equalized, then whole; the default, which keeps in float what does not pay, and here has to find
that integers do; and with a budget of half a point. 512 calibration images. Speeds are of pairs
timed in turn on one thread, top-1 is on test.npz. Ends with 1 when a requirement does not hold.
"""

import sys
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import onnx_ir as ir

from cifar_data import trained_job
from compressor.graph.files import load_model, save_model
from compressor.graph.shapes import infer_shapes, input_specs
from compressor.quantization.equalization import choose_equalization
from compressor.quantization.smoothing import smoothed
from compressor.quantization.static import CalibrationOptions, calibrate, quantize_static
from exporters.base import find_target
from processes import Figures, Row, show
from versus import (
    CALIBRATION_SAMPLES,
    FLOATING,
    INTEGER,
    Job,
    bound,
    compress_as_user,
    export_float,
    faster_than,
    quantize_by_runtime,
    top1,
)

LOST, DROP, FASTER = 2.0, 0.5, 1.0
"""Points of top-1 that min/max loses at least and ours at most; and what ours, which has to have
integer layers, is over float."""
OURS: dict[str, dict[str, Any]] = {
    "ours, all INT8": {"quantize": {"keep_slower": True}},
    "ours": {},
    "ours, --max-drop 0.5pt": {"budget": {"max_drop": "0.5pt", "accept": "point"}},
}
RUNTIME = "quantize_static"
BATCHES = (1, 32)
STEPS = ("ranges alone", "ranges, equalized")


def by_steps(job: Job, source: Path, folder: Path) -> dict[str, Path]:
    """INT8 with calibrated ranges alone, and with channels equalized first."""
    model = infer_shapes(load_model(source))
    policy = find_target("ort").policy("host")
    data = job.data(job.calibration, CALIBRATION_SAMPLES).bind(input_specs(model))
    divisors, _ = choose_equalization(model, data, policy, batch=32, memory=None)

    def made(graph: ir.Model) -> ir.Model:
        choice = calibrate(graph, data, policy, CalibrationOptions())
        bits = policy.weight.bits
        return quantize_static(graph, choice.integer, choice.ranges, policy, weight_bits=bits)

    paths = {}
    for name, graph in zip(STEPS, (model, smoothed(model, divisors)), strict=True):
        paths[name] = folder / f"{name.replace(', ', '-').replace(' ', '-')}.onnx"
        save_model(made(graph), paths[name])
    return paths


def measured(job: Job, folder: Path) -> Figures:
    """Accuracy, share of integer layers, and speed over float."""
    target, source = find_target("ort"), folder / "float.onnx"
    export_float(job, source)
    quantize_by_runtime(job, source, folder / "runtime.onnx")
    paths = {"float": source, RUNTIME: folder / "runtime.onnx"} | by_steps(job, source, folder)
    for number, (name, options) in enumerate(OURS.items()):
        unpruned = {"prune": {"macs": "none"}} | options
        paths[name] = compress_as_user(job, folder / f"ours-{number}", unpruned)
    figures: Figures = {}
    for name, path in paths.items():
        with target.open(path, threads=1) as runner:
            figures[f"top1 {name}"] = top1(runner, bound(job, runner, job.evaluation))
        integer, floating = target.integer_nodes(path)
        whole = sum(integer.get(operator, 0) for operator in INTEGER)
        layers = whole + sum(floating.get(operator, 0) for operator in FLOATING)
        figures[f"integer {name}"] = 100 * whole / layers
    for name in OURS:
        for batch in BATCHES:
            opened = target.open(paths["float"]), target.open(paths[name])
            figures[f"speed {name}, {batch}"] = faster_than(*opened, job, batch)
    return figures


def rows() -> list[Row]:
    """The table."""
    table = [Row("top-1, float", itemgetter("top1 float"), "{:.2f} %")]
    lost = replace(_drop(RUNTIME), required=f"≥ {LOST:g}", holds=lambda points: points >= LOST)
    table += [lost, *(_drop(name) for name in STEPS)]
    for name in OURS:
        drop = replace(_drop(name), required=f"≤ {DROP:g}", holds=lambda points: points <= DROP)
        share = Row(f"{name}: layers as integer", itemgetter(f"integer {name}"), "{:.0f} %")
        speeds = [_speed(name, batch) for batch in BATCHES]
        if name == "ours":
            share = replace(share, required="> 0 %", holds=lambda percent: percent > 0)
            speeds = [
                replace(row, required=f"> {FASTER:g}x", holds=lambda times: times > FASTER)
                for row in speeds
            ]
        table += [drop, share, *speeds]
    return table


def _drop(name: str) -> Row:
    return Row(f"{name}: points lost", lambda f: f["top1 float"] - f[f"top1 {name}"], "{:+.2f}")


def _speed(name: str, batch: int) -> Row:
    return Row(
        f"{name}: over float, batch {batch}", itemgetter(f"speed {name}, {batch}"), "{:.2f}x"
    )


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    if (trained := trained_job(__doc__, "depthwise")) is None:
        return
    title = "A depthwise CNN of uneven channels, 512 calibration images"
    sys.exit(not show(title, rows(), measured(*trained)))


if __name__ == "__main__":
    main()
