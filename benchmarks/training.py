"""CIFAR-10 ResNet-20: what training brings back to pruned and quantized graphs, row by row.

    python benchmarks/training.py --data DIR --model FILE [--out JSON] [--seeds N] [ROW ...]

DIR holds calib.npz, train.npz and test.npz, FILE is a state dict of `resnet.py`, both as for
`cifar.py`. Every figure goes to JSON as soon as it is there, by row and seed, and is not taken
again: a killed run goes on. Lengths are minutes of processor time of one thread, as others may use
the machine; the steps that were made in them, and the load, stand beside the figure. Without ROW
all are taken; `--help` names them.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from cifar_data import cifar_job, options_of
from compressor import Recipe, compress
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import BASELINE, RESULT
from compressor.evaluation.metrics.robust_accuracy import RobustAccuracy
from compressor.evaluation.views import OfGraph, only
from compressor.graph.files import load_model
from compressor.graph.shapes import infer_shapes
from compressor.results.graph_report import GraphReport
from compressor.training.attacks import GraphAttacks, ranges_of
from compressor.training.executor import GraphModule
from compressor.training.parity import why_not_equal
from compressor.training.roles import find_trained
from exporters.base import find_target
from resnet import resnet20
from training_bench import Bench, Figures
from training_texts import attention, encoder
from versus import faster_than

A_MINUTE = 400
"""Steps of 64 images in a minute of a quiet core (0.15 s each), for what is not timed itself."""

REQUIRED: dict[str, tuple[str, Callable[[Figures], bool]]] = {
    "zoo": ("apart ≤ 1e-4", lambda f: f["apart"] <= 1e-4),
    "speed": ("times ≤ 1.1", lambda f: f["times"] <= 1.1),
    "3x 1min": ("top1 ≥ 79.5", lambda f: f["top1"] >= 79.5),
    "3x 1min bf16": ("top1 ≥ 79.5", lambda f: f["top1"] >= 79.5),
    "3x 3min": ("top1 ≥ 81.0", lambda f: f["top1"] >= 81.0),
    "3x 10min": ("top1 ≥ 82.0", lambda f: f["top1"] >= 82.0),
    "3x 1min 512": ("top1 ≥ 77", lambda f: f["top1"] >= 77),
    "2x 3min": ("top1 ≥ 84.0", lambda f: f["top1"] >= 84.0),
    "4bit 1min": ("sqnr ≥ 23", lambda f: f["sqnr"] >= 23),
    "4bit search": ("sqnr ≥ 23", lambda f: f["sqnr"] >= 23),
    "2bit 1min": ("top1 ≥ 80", lambda f: f["top1"] >= 80),
    "encoder 5min": ("cosine ≥ 0.958", lambda f: f["cosine"] >= 0.958),
    "1pt 5min": (
        "lost ≤ 1, b1 ≥ 1.35, b32 ≥ 1.45",
        lambda f: f["lost"] <= 1 and f["b1"] >= 1.35 and f["b32"] >= 1.45,
    ),
    "attention": ("times < 1", lambda f: f["times"] < 1),
    "2 exits": ("times ≤ 0.8", lambda f: f["times"] <= 0.8),
    "2 exits int8": ("times ≤ 0.8", lambda f: f["times"] <= 0.8),
    "attacks": ("pgd, robust 1min > pgd, float", lambda f: f["pgd, robust 1min"] > f["pgd, float"]),
}
"""Row → what its figures have to be, in words and as a question."""

RADIUS = 2 / 255 / 0.225
"""Of attacks: two of 255 levels, behind the least deviation by which channels are divided."""

ATTACKED = 300
"""Test images that are attacked."""

TURNS = 12


def zoo(bench: Bench) -> Figures:
    """How far torch and ONNX Runtime are apart at most; gradients of all that is trained exist."""
    del bench
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from networks import ZOO  # noqa: PLC0415 - of the tests

    worst, networks, without = 0.0, 0, 0
    for network in ZOO:
        model = network.folded()
        module = GraphModule(model, find_trained(model).names)
        _, figures = why_not_equal(model, [network.feeds(2), network.feeds(3)], module)
        worst, networks = max(worst, *(one.error for one in figures)), networks + 1
        made = module({k: torch.from_numpy(np.array(v)) for k, v in network.feeds(2).items()})
        total = torch.stack([t.float().square().mean() for t in made.values() if t.requires_grad])
        torch.autograd.backward(total.sum())
        without += sum(p.grad is None or not p.grad.isfinite().all() for p in module.parameters())
    return {"apart": worst, "networks": networks, "without gradient": without}


def speed(bench: Bench) -> Figures:
    """Forward and backward against the source module in evaluation mode, in turn."""
    torch.set_num_threads(1)
    module, graph = resnet20().eval(), GraphModule(bench.whole, find_trained(bench.whole).names)
    name = bench.whole.graph.inputs[0].name or ""
    figures: Figures = {}
    for batch in (1, 64):
        x = torch.randn(batch, 3, 32, 32)
        feeds = {name: x}

        def source(x: torch.Tensor = x) -> torch.Tensor:
            found: torch.Tensor = module(x)
            return found

        def interpreted(feeds: dict[str, torch.Tensor] = feeds) -> torch.Tensor:
            found: torch.Tensor = next(iter(graph(feeds).values()))
            return found

        runs: tuple[Callable[[], torch.Tensor], ...] = (source, interpreted)
        times: tuple[list[float], list[float]] = ([], [])
        for _ in range(TURNS):
            for run, spent in zip(runs, times, strict=True):
                began = time.process_time()
                for _ in range(max(1, 16 // batch)):
                    torch.autograd.backward(run().sum())
                spent.append(time.process_time() - began)
        figures[f"batch {batch}"] = statistics.median(times[1]) / statistics.median(times[0])
    return figures | {"times": max(figures.values())}


def pruned_and_trained(
    bench: Bench, ratio: float, minutes: float, images: int | None = None, **options: object
) -> Figures:
    """Top-1 before and after, and as INT8."""
    model = bench.pruned(ratio)
    made, figures = bench.trained(model, minutes, images, **options)
    found = {"before": bench.top1(model), "top1": bench.top1(made)} | figures
    return found | {"int8": bench.top1(bench.quantized(made, 7))}


def few_bits(bench: Bench, bits: int) -> Figures:
    """Top-1 and SQNR before and after a minute of training through Q/DQ."""
    model = bench.quantized(bench.whole, bits)
    made, figures = bench.trained(model, 1)
    return {
        "before": bench.top1(model),
        "sqnr before": bench.sqnr(model),
        "top1": bench.top1(made),
        "sqnr": bench.sqnr(made),
    } | figures


def few_bits_searched(bench: Bench, bits: int) -> Figures:
    """The same by the search itself, `--weight-bits 4 --train 200steps`."""
    job = bench.job
    common: dict[str, Any] = {
        "model": {"factory": job.factory},
        "data": {"preprocess": job.preprocess},
        "quantize": {"weight_bits": bits, "keep_slower": True},
        "prune": {"macs": "none"},
        "measure": {"threads": 1, "seconds": 2.0, "memory": False},
        "seed": bench.seed,
    }
    trained = {"length": "200steps", "data": job.many, "labels": 0, "threads": 1}
    figures: Figures = {}
    for name, sections in {" before": {}, "": {"train": trained}}.items():
        with tempfile.TemporaryDirectory() as folder:
            compress(
                job.model,
                calibration=job.calibration,
                recipe=Recipe.model_validate(common | sections),
                output=Path(folder) / "out",
            )
            made = infer_shapes(load_model(Path(folder) / "out" / "model.onnx"))
            figures |= {f"sqnr{name}": bench.sqnr(made), f"top1{name}": bench.top1(made)}
    return figures


def within_a_point(bench: Bench, minutes: float) -> Figures:
    """Pruned, trained and INT8 within a point of float, over INT8 alone, timed in turn.

    The loss is of the half of the test images that no search has seen. Training images judge
    nothing here: the original knows them (95 %), and a pruned one forgets them first. Minutes are
    told in steps, as the machine may be busy.
    """
    job, folder = bench.job, bench.folder
    common: dict[str, Any] = {
        "model": {"factory": job.factory},
        "data": {"preprocess": job.preprocess},
        "seed": bench.seed,
    }
    trained = {"length": f"{minutes * A_MINUTE:g}steps", "data": job.many, "threads": 1}
    asked: dict[str, dict[str, Any]] = {
        "int8": {"prune": {"macs": "none"}},
        "pruned": {"train": trained, "budget": {"max_drop": "1pt", "accept": "point"}},
    }
    reports = {
        name: compress(
            job.model,
            calibration=job.calibration,
            evaluation=job.evaluation,
            recipe=Recipe.model_validate(common | sections),
            output=folder / f"1pt-{name}-{bench.seed}",
            force=True,
        )
        for name, sections in asked.items()
    }
    files = {name: folder / f"1pt-{name}-{bench.seed}" / "model.onnx" for name in asked}
    budget, target = reports["pruned"].graphs["model"].budget, find_target("ort")
    assert budget is not None and budget.point is not None, "asked for"
    speeds = {
        f"b{batch}": faster_than(
            target.open(files["int8"]), target.open(files["pruned"]), job, batch
        )
        for batch in (1, 32)
    }
    return speeds | {"lost": budget.point}


def attacks(bench: Bench) -> Figures:
    """What is right under PGD, by own gradients and by the original's: of float, INT8, pruned."""
    pruned = bench.pruned(3.0)
    how: dict[str, Any] = {"attack": "pgd", "radius": RADIUS, "attack_steps": 3}
    models = {
        "float": bench.whole,
        "int8": bench.quantized(bench.whole, 7),
        "3x": pruned,
        "3x 1min": bench.trained(pruned, 1)[0],
        "robust 1min": bench.trained(bench.whole, 1, rate=3e-4, **how)[0],
    }
    data = bench.data(bench.job.evaluation, ATTACKED)
    ranges = ranges_of(step.inputs for step in data.batches(100))
    output = bench.whole.graph.outputs[0].name or ""
    figures: Figures = {}
    robust = find_metric("robust_accuracy")
    assert isinstance(robust, RobustAccuracy), "the metric of that name"
    metrics = {one.name: one for one in robust.under(GraphAttacks(RADIUS, 10, ranges, bench.seed))}
    for name, model in models.items():
        with find_target("ort").open(bench.whole) as one, find_target("ort").open(model) as other:
            runners = {BASELINE: OfGraph(one, bench.whole), RESULT: OfGraph(other, model)}
            shown = only(runners, [output])
            for key in ("pgd_accuracy", "transferred_pgd_accuracy"):
                metric = metrics[key]
                units = metric.evaluate(shown, data, 100).units[RESULT]
                figures[f"{key.removesuffix('_accuracy')}, {name}"] = float(metric.aggregate(units))
        figures[f"top1, {name}"] = bench.top1(model)
    return figures


def two_exits(bench: Bench, mode: str) -> Figures:
    """Mean latency with two early exits within a point, over the same graph without; 1 without."""
    job = bench.job
    recipe = {
        "model": {"factory": job.factory},
        "data": {"preprocess": job.preprocess},
        "quantize": {"mode": mode, "keep_slower": True},
        "prune": {"macs": "none"},
        "train": {"exits": 2, "data": job.many},
        "budget": {"max_drop": "1pt", "accept": "point"},
        "measure": {"threads": 1, "seconds": 4.0, "metric": "accuracy", "memory": False},
        "seed": bench.seed,
    }
    with tempfile.TemporaryDirectory() as folder:
        report = compress(
            job.model,
            calibration=job.calibration,
            evaluation=job.evaluation,
            recipe=Recipe.model_validate(recipe),
            output=Path(folder) / "out",
        )
    (graph,) = report.graphs.values()
    assert graph.exits is not None, "asked for"
    Console(stderr=True).print(graph.exits.reason, style="dim")
    race, places = graph.exits.latency, graph.exits.places
    times = 1.0 if race is None or not graph.exits.kept else 1 / race.speed
    found = {"times": times}
    found |= {f"top1 {what}": value or 0.0 for what, value in _before_and_after(graph)}
    return found | {f"left at {n}": one.left or 0.0 for n, one in enumerate(places[:-1], 1)}


def _before_and_after(graph: GraphReport) -> list[tuple[str, float | None]]:
    (quality,) = graph.quality
    return [("before", quality.baseline), ("after", quality.result)]


ROWS: dict[str, Callable[[Bench], Figures]] = {
    "zoo": zoo,
    "speed": speed,
    "3x 1min": partial(pruned_and_trained, ratio=3.0, minutes=1),
    "3x 1min bf16": partial(pruned_and_trained, ratio=3.0, minutes=1, precision="bf16"),
    "3x 1min 512": partial(pruned_and_trained, ratio=3.0, minutes=1, images=512),
    "4bit 1min": partial(few_bits, bits=4),
    "4bit search": partial(few_bits_searched, bits=4),
    "2bit 1min": partial(few_bits, bits=2),
    "2x 3min": partial(pruned_and_trained, ratio=2.0, minutes=3),
    "3x 3min": partial(pruned_and_trained, ratio=3.0, minutes=3),
    "3x 10min": partial(pruned_and_trained, ratio=3.0, minutes=10),
    "encoder 5min": partial(encoder, minutes=5),
    "1pt 5min": partial(within_a_point, minutes=5),
    "attacks": attacks,
    "attention": attention,
    "2 exits": partial(two_exits, mode="none"),
    "2 exits int8": partial(two_exits, mode="int8"),
}


def shown(known: dict[str, dict[str, Figures]], names: Sequence[str]) -> bool:
    """Print medians over seeds; whether all that is required holds."""
    table, good = Table("row", "seeds", "figures", "required", title="Training"), True
    for name in names:
        found = list(known.get(name, {}).values())
        if not found:
            continue
        medians = {key: statistics.median(one[key] for one in found) for key in found[0]}
        text, holds = REQUIRED[name]
        met = holds(medians)
        good = good and met
        told = ", ".join(f"{key} {value:.4g}" for key, value in medians.items())
        table.add_row(name, str(len(found)), told, f"{text}{'' if met else ' MISSED'}")
    Console().print(table)
    return good


def main() -> None:
    """Measure what is not known yet, and print; the exit code tells whether all holds."""
    parser = options_of(__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/training.json"))
    parser.add_argument("--folder", type=Path, default=Path("out/training"), help="what is made")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    options = parser.parse_args()
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}")
    if not options.data or not options.model:
        print("skipped: give --data DIR and --model FILE; --help says what they hold")
        return
    job = cifar_job(options.data, options.model, many=True)
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    names = options.rows or list(ROWS)
    for seed in range(options.seeds):
        bench = Bench(job, options.folder, seed)
        for name in names:
            if str(seed) in known.get(name, {}) or (seed and name in ("zoo", "speed")):
                continue
            figures = ROWS[name](bench) | {"load": os.getloadavg()[0]}
            known.setdefault(name, {})[str(seed)] = figures
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(known, indent=1) + "\n")
            Console(stderr=True).print(f"{name}, seed {seed}: {figures}", style="dim")
    sys.exit(not shown(known, names))


if __name__ == "__main__":
    main()
