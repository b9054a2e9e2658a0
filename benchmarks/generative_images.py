"""Figures of the samples that make images: Fréchet distance, PSNR of equal seeds, pruning."""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

import compressor
from compressor.graph.tensors import Array
from compressor.report.files import load_report
from exporters.base import find_target
from frechet import distance, features
from generative_runtime import quantized_static
from generative_sample import FLOAT, Models, Sample, macs_ratio, opened
from processes import Figures, Row
from versus import latency_ratio

WORST_RATIO, LEAST_PSNR = 1.5, 25.0
SAME = 1e-3
"""How far apart two runs of one graph are, at most, in relation to what it makes."""
OUTPUT = {"gan": "image", "vae": "reconstruction", "diffusion": "image"}
"""The images that are compared."""
JOINT, JOINT_UNITS = 500, 128
"""Images that losses of two graphs are taken of, and units that judge the budget between them."""
AT_ONCE = 50
"""Images of a call of the loop."""
_BLOCK = 10_000

Images = npt.NDArray[np.float32]


@dataclass
class Draws:
    """Images by block of seeds, each made once.

    Attributes:
        sample: Makes them.
        count: Images of a block.
    """

    sample: Sample
    count: int

    def images(self, label: str, models: Models, block: int) -> Images:
        """(count, 1, 32, 32) of a block of seeds."""
        path = self.sample.scratch / f"{label} {block}.npy"
        if not path.exists():
            self.sample.begin(f"images of {label}, block {block}")
            first = block * _BLOCK
            made = [
                self.sample.generate(models, first + n, AT_ONCE)[OUTPUT[self.sample.name]]
                for n in range(self.count // AT_ONCE)
            ]
            np.save(path, np.concatenate(made))
        found: Images = np.load(path)
        return found

    def features(self, label: str, models: Models, block: int) -> npt.NDArray[np.floating]:
        """Those of its images."""
        path = self.sample.folder.parent / "digits" / "features.onnx"
        return features(self.images(label, models, block), path)


def psnr(exact: Images, found: Images) -> float:
    """10·log10(1 / mse) of images in 0..1."""
    error = np.square(exact.astype(np.float64) - found).mean()
    return float(-10 * np.log10(error))


def measured(sample: Sample, count: int, draws: int) -> Figures:
    """All figures of a sample that makes images."""
    drawn = Draws(sample, count)
    exact = compressor.load(sample.made("float", **FLOAT))
    shipped = compressor.load(sample.folder / "ort")
    floors, ratios, distances = [], [], []
    for block in range(draws):
        other = drawn.features("original", exact, block + 1)
        floors.append(distance(drawn.features("original", exact, block), other))
        distances.append(distance(drawn.features("shipped", shipped, block), other))
        ratios.append(distances[-1] / floors[-1])
    figures = {
        "floor": median(floors),
        "distance": median(distances),
        "ratio": median(ratios),
        "psnr": psnr(drawn.images("original", exact, 0), drawn.images("shipped", shipped, 0)),
        **sample.figures("own loop", lambda: _as_reported(sample, exact, shipped)),
        **_pruned(sample, drawn, exact),
    }
    more = {"diffusion": _against_static, "vae": _joint}.get(sample.name)
    return figures if more is None else figures | more(sample, drawn, exact)


def _as_reported(sample: Sample, exact: Models, shipped: Models) -> Figures:
    """The report's worst units anew: the user's loop, their seeds, the loaded folder."""
    report = sample.report().pipeline
    assert report is not None
    apart = []
    for unit in report.worst:
        one, other = (
            sample.generate(models, unit.seed, 1)[OUTPUT[sample.name]].astype(np.float64)
            for models in (exact, shipped)
        )
        error = float(np.linalg.norm(other - one) / np.linalg.norm(one))
        apart.append(abs(error - unit.error))
    latency = report.latency[0]
    return {
        "own loop": max(apart),
        "speed": latency.ratio or float("nan"),
        "size": report.baseline_size.file_bytes / report.result_size.file_bytes,
    }


def _pruned(sample: Sample, drawn: Draws, exact: Models) -> Figures:
    """Distance and PSNR at 1.5 times fewer multiply-accumulates, with repair and without."""
    figures: Figures = {}
    other = drawn.features("original", exact, 1)
    for label, repair in (("repaired", True), ("not repaired", False)):
        folder = sample.pruned(repair=repair)
        models = compressor.load(folder)
        figures |= {
            f"macs {label}": macs_ratio(folder),
            f"distance {label}": distance(drawn.features(label, models, 0), other),
            f"psnr {label}": psnr(
                drawn.images("original", exact, 0), drawn.images(label, models, 0)
            ),
        }
    return figures


def _against_static(sample: Sample, drawn: Draws, exact: Models) -> Figures:
    """ONNX Runtime's own quantizer on the same recorded calls."""
    theirs = sample.scratch / "static.onnx"
    report = sample.report()
    assert report.pipeline is not None
    if not theirs.exists():
        floats, traced = (
            sample.made("float", **FLOAT) / "unet" / "model.onnx",
            report.pipeline.traced,
        )
        sample.begin("quantize_static")
        quantized_static(sample, floats, theirs, traced)
    with opened({"unet": theirs}) as models:
        found = drawn.images("quantize_static", models, 0)
        distant = drawn.features("quantize_static", models, 0)
    return {
        "psnr static": psnr(drawn.images("original", exact, 0), found),
        "distance static": distance(distant, drawn.features("original", exact, 1)),
        **sample.figures("speed over static", lambda: _speed_over(sample, theirs)),
    }


def _speed_over(sample: Sample, theirs: Path) -> Figures:
    """A call of ours beside one of theirs, timed in turn."""
    call: dict[str, Array] = {
        "x": np.zeros((1, 1, 32, 32), np.float32),
        "t": np.full(1, 500, np.int64),
    }
    ours, target = sample.folder / "ort" / "unet" / "model.onnx", find_target("ort")
    with target.open(theirs, threads=1) as slow, target.open(ours, threads=1) as quick:
        return {"speed static": latency_ratio(slow, quick, call, 1)}


def _joint(sample: Sample, drawn: Draws, exact: Models) -> Figures:
    """A budget that either graph keeps alone, and not both as they ship without one."""
    shipped = compressor.load(sample.folder / "ort")
    before = drawn.images("original", exact, 0)[:JOINT]

    def lost(models: Models) -> float:
        made = np.concatenate(
            [sample.generate(models, n, AT_ONCE)[OUTPUT["vae"]] for n in range(JOINT // AT_ONCE)]
        )
        return _cosine_lost(before, made)

    alone = max(lost({**exact, name: shipped[name]}) for name in shipped)
    together = lost(shipped)
    allowed = (alone + together) / 2
    folder = sample.made(
        "joint",
        units=JOINT_UNITS,
        prune={"macs": "none"},
        measure={"metric": "cosine", "output": OUTPUT["vae"], "seconds": 0.5},
        budget={"max_drop": f"{100 * allowed:.9f}%"},
    )
    report = load_report(folder).pipeline
    assert report is not None
    assert report.budget is not None
    return {
        "alone": alone,
        "together": together,
        "allowed": allowed,
        "held": lost(compressor.load(folder)),
        "met": float(report.budget.met),
        "back": len(report.stepped_back),
    }


def _cosine_lost(exact: Images, found: Images) -> float:
    """1 - the mean cosine of images."""
    pairs = (one.reshape(len(one), -1).astype(np.float64) for one in (exact, found))
    a, b = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in pairs)
    return float(1 - (a * b).sum(1).mean())


def rows(sample: Sample) -> list[Row]:
    """The table."""

    def row(name: str, key: str, form: str = "{:.4f}") -> Row:
        return Row(name, lambda found: found[key], form)

    table = [
        row("Fréchet distance, original to itself reseeded", "floor"),
        row("Fréchet distance, shipped to the original", "distance"),
        Row(
            "their ratio, median of draws",
            lambda found: found["ratio"],
            "{:.2f}",
            f"≤ {WORST_RATIO}",
            lambda ratio: ratio <= WORST_RATIO,
        ),
        row("PSNR of the same seeds, shipped", "psnr", "{:.1f} dB"),
        row("speed of a unit, as reported", "speed", "{:.2f}x"),
        row("size of all files, as reported", "size", "{:.2f}x smaller"),
        Row(
            "error of the report's worst units, less that of the user's loop",
            lambda found: found["own loop"],
            "{:.1e}",
            f"≤ {SAME:.0e}",
            lambda apart: apart <= SAME,
        ),
    ]
    for label in ("repaired", "not repaired"):
        table += [
            row(f"pruned, {label}: MACs", f"macs {label}", "{:.2f}x fewer"),
            row(f"pruned, {label}: Fréchet distance", f"distance {label}"),
            row(f"pruned, {label}: PSNR", f"psnr {label}", "{:.1f} dB"),
        ]
    more = {"diffusion": _diffusion_rows, "vae": _joint_rows}.get(sample.name)
    return table if more is None else table + more()


def _joint_rows() -> list[Row]:
    def row(name: str, key: str, form: str = "{:.2e}") -> Row:
        return Row(name, lambda found: found[key], form)

    return [
        row("cosine lost, one graph as INT8, the worse", "alone"),
        row("cosine lost, both", "together"),
        row("budget between them", "allowed"),
        Row(
            "cosine lost of what ships, of the budget",
            lambda found: found["held"] / found["allowed"],
            "{:.2f}",
            "≤ 1",
            lambda share: share <= 1,
        ),
        Row("confirmed on seeds of its own", lambda found: found["met"], "{:.0f}", "1", bool),
        row("graphs stepped back after the search", "back", "{:.0f}"),
    ]


def _diffusion_rows() -> list[Row]:
    def gained(found: Figures) -> float:
        return found["psnr"] - found["psnr static"]

    return [
        Row(
            "PSNR of final images",
            lambda found: found["psnr"],
            "{:.1f} dB",
            f"≥ {LEAST_PSNR} dB",
            lambda value: value >= LEAST_PSNR,
        ),
        Row("quantize_static: PSNR", lambda found: found["psnr static"], "{:.1f} dB"),
        Row("ours over it", gained, "{:+.1f} dB", "above 0", lambda value: value > 0),
        Row("quantize_static: Fréchet", lambda found: found["distance static"], "{:.4f}"),
        Row("a call: speed over it", lambda found: found["speed static"], "{:.2f}x"),
    ]
