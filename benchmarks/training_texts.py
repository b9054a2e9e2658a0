"""Rows of `training.py` of a sentence encoder."""

import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console

from compressor import Recipe, compress
from compressor.graph.files import load_model, save_model
from compressor.graph.shapes import infer_shapes
from compressor.recipe.held_out import held_out_of
from compressor.recipe.training import TrainOptions, parse_length
from compressor.training.task import Task
from long_texts import documents, long_encoder
from training_bench import Bench, Figures, carried_out
from transformer_pruning import PACKAGE, SAMPLES, session

SENTENCES = 2000

DOCUMENTS, JUDGING = 96, 8
"""Of 1,024 tokens, that are trained on and that judge."""


def attention(bench: Bench) -> Figures:
    """A sentence encoder over 1,024 tokens, window attention distilled: time over without it.

    MiniLM has 512 positions; the original here is the network with these interpolated to 1,024,
    which reads documents: sentences of the standard library's modules, one after the other.
    """
    folder = _folder()
    used, judging = documents(folder, DOCUMENTS, JUDGING, bench.seed)
    recipe = {
        "quantize": {"mode": "none", "batch": 1},  # many take gigabytes a layer
        "train": {"attention": "window:128", "length": "48steps", "batch": 2, "threads": 1},
        "measure": {"threads": 1, "seconds": 4.0, "metric": "cosine", "memory": False},
        "seed": bench.seed,
    }
    with tempfile.TemporaryDirectory() as made:
        report = compress(
            long_encoder(folder),
            calibration=used,
            evaluation=judging,
            recipe=Recipe.model_validate(recipe),
            output=Path(made) / "out",
        )
    (graph,) = report.graphs.values()
    found = graph.attention
    assert found is not None, "asked for"
    Console(stderr=True).print(found.reason, style="dim")
    race, layers = found.latency, [one for one in found.layers if one.form is not None]
    figures = {"times": 1.0 if race is None or not found.kept else 1 / race.speed}
    figures["layers"] = len(layers)
    for name, quality in (("untrained", found.untrained), ("cosine", found.trained)):
        if quality is not None and quality.result is not None:
            figures[name] = quality.result
    for number, one in enumerate(found.layers):
        if one.latency is not None and one.latency.is_known:
            figures[f"layer {number}"] = one.latency.speed
    return figures


def encoder(bench: Bench, minutes: float) -> Figures:
    """Cosine of a sentence encoder without a quarter of its heads and hidden units."""
    made = session(_folder(), 1, samples=SENTENCES)
    path = bench.folder / "encoder.onnx"
    if not path.exists():
        few = replace(made, calibration=made.calibration.take(SAMPLES))
        save_model(few.smaller(), path)
    model, options = infer_shapes(load_model(path)), TrainOptions(threads=1)
    used, held = held_out_of(made.calibration, options, 0)
    length = parse_length(f"{60 * minutes:g}s")
    task = Task(model, made.model, used, held, options, length, seed=bench.seed)
    trained, figures = carried_out(task)
    return {
        "before": made.cosines(model, "found")["mean found"],
        "cosine": made.cosines(trained, "found")["mean found"],
    } | figures


def _folder() -> Path:
    """The network's, in the package that brings it."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(f"this row needs {PACKAGE.replace('_', '-')} (install it with --no-deps)")
    return Path(spec.origin).with_name("model")
