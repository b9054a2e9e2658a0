"""A ResNet-56: whole blocks and channels removed, and INT8, against INT8 alone; one thread.

    python benchmarks/deep.py --data DIR --model FILE [--folder out/deep] [--only NAME ...]

DIR holds calib.npz, train.npz and test.npz, FILE is a state dict of `resnet.py`, both as for
`cifar.py`. The network is that of `deep_net.py`, trained once and kept in the folder; that can be
interrupted and goes on. Then the command's own function compresses it as a user would from 512
images, for every goal and budget with blocks and without, each kept in the folder: what is there is
not made again. Speeds are of pairs timed in turn, top-1 is on test.npz, which also judges where
there is a budget. Ends with 1 when a requirement does not hold.
"""

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

import deep_net
from cifar_data import cifar_job, options_of
from exporters.base import find_target
from processes import Figures, Row, show
from versus import Job, bound, compress_as_user, export_float, faster_than, top1

Sections = Mapping[str, Mapping[str, Any]]

VARIANTS: Mapping[str, Sections] = {
    "INT8": {},
    "30%": {"prune": {"macs": "30%"}},
    "30%, channels": {"prune": {"macs": "30%", "blocks": False}},
    "50%": {"prune": {"macs": "50%"}},
    "50%, channels": {"prune": {"macs": "50%", "blocks": False}},
    "3.7x": {"prune": {"speedup": "3.7x"}},
    "1 point": {"budget": {"max_drop": "1pt", "accept": "point"}},
    "1 point, proven": {"budget": {"max_drop": "1pt"}},
}
BATCHES = (1, 32)
FASTER = {"1 point": (1.4, 1.45), "1 point, proven": (1.25, 1.3)}
"""Over INT8 alone, at batch 1 and 32."""
LOST = 0.6
"""Times what channels alone lose where half of the multiply-accumulates goes."""
NOISE = 0.9
"""Points of top-1 that variants differ by from chance."""


def compressed(job: Job, folder: Path, name: str) -> dict[str, float]:
    """Make a variant unless it is there; its seconds, and those of the processor."""
    output = folder / name.replace("%", "").replace(", ", "-").replace(" ", "-")
    told = output.with_suffix(".json")
    if not told.is_file():
        begun, worked = time.perf_counter(), time.process_time()
        compress_as_user(job, output, {key: dict(part) for key, part in VARIANTS[name].items()})
        seconds, work = time.perf_counter() - begun, time.process_time() - worked
        told.write_text(json.dumps({"s": seconds, "cpu": work}))
    found: dict[str, float] = json.loads(told.read_text())
    return found


def measured(job: Job, folder: Path, names: list[str]) -> Figures:
    """Accuracy of all, and their speeds over INT8 alone and float."""
    target = find_target("ort")
    paths = {"float": folder / "float.onnx"}
    if not paths["float"].is_file():
        export_float(job, paths["float"])
    figures: Figures = {}
    for name in names:
        took = compressed(job, folder, name)
        figures |= {f"{key} {name}": value for key, value in took.items()}
        stem = name.replace("%", "").replace(", ", "-").replace(" ", "-")
        paths[name] = folder / stem / "model.onnx"
        Console(stderr=True).print(f"{name}: {took}", style="dim")
    for name, path in paths.items():
        with target.open(path, threads=1) as runner:
            figures[f"top1 {name}"] = top1(runner, bound(job, runner, job.evaluation))
    for batch in BATCHES:
        for name in names:
            for base in ("float", "INT8"):
                if base in paths and name != base:
                    one, other = (target.open(paths[each], threads=1) for each in (base, name))
                    figures[f"{name} over {base}, {batch}"] = faster_than(one, other, job, batch)
    return figures


def rows(figures: Figures) -> list[Row]:
    """The table of what was measured."""
    table = [Row("top-1, float", lambda f: f["top1 float"], "{:.2f} %")]
    for name in [name for name in VARIANTS if f"top1 {name}" in figures]:
        table.append(_lost(name))
        for base in ("float", "INT8"):
            for batch, least in zip(BATCHES, FASTER.get(name, (None, None)), strict=True):
                if f"{name} over {base}, {batch}" in figures:
                    table.append(_speed(name, base, batch, least if base == "INT8" else None))
        table.append(Row(f"{name}: time", lambda f, n=name: f[f"s {n}"], "{:.0f} s"))  # type: ignore[misc]
        table.append(Row(f"{name}: processor", lambda f, n=name: f[f"cpu {n}"], "{:.0f} s"))  # type: ignore[misc]
    if {"top1 50%", "top1 50%, channels"} <= figures.keys():
        table.append(
            Row(
                "50%: lost, in times what channels alone lose",
                lambda f: _points(f, "50%") / max(_points(f, "50%, channels"), 1e-9),
                "{:.2f}",
                f"≤ {LOST}, or within {NOISE} points of float",
                lambda times: times <= LOST or _points(figures, "50%") <= NOISE,
            )
        )
    return table


def _points(figures: Figures, name: str) -> float:
    return figures["top1 float"] - figures[f"top1 {name}"]


def _lost(name: str) -> Row:
    row = Row(f"{name}: points lost", lambda f: _points(f, name), "{:+.2f}")
    if name != "1 point":
        return row
    return Row(row.name, row.value, row.form, "≤ 1", lambda lost: lost <= 1 + 1e-9)


def _speed(name: str, base: str, batch: int, least: float | None) -> Row:
    def value(figures: Figures) -> float:
        return figures[f"{name} over {base}, {batch}"]

    told = f"{name}: over {base}, batch {batch}"
    if least is None:
        return Row(told, value, "{:.2f}x")
    return Row(told, value, "{:.2f}x", f"≥ {least}x", lambda times: times >= least)


def main() -> None:
    """Measure and print; the exit code tells whether every requirement holds."""
    parser = options_of(__doc__)
    parser.add_argument("--folder", type=Path, default=Path("out", "deep"), help="what is made")
    parser.add_argument("--only", nargs="+", choices=VARIANTS, help="variants, if not all")
    options = parser.parse_args()
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    folder: Path = options.folder
    checkpoint = folder / "deep.pt"
    if not checkpoint.is_file():
        deep_net.train(options.data / "train.npz", checkpoint, options.model)
    job = cifar_job(options.data, checkpoint, "deep_net.py:deep")
    figures = measured(job, folder, list(options.only or VARIANTS))
    sys.exit(not show("ResNet-56, no training after pruning", rows(figures), figures))


if __name__ == "__main__":
    main()
