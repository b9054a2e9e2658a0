"""Figures of the samples that read and write text: perplexity, greedy tokens, accuracy, pruning."""

from collections.abc import Mapping
from functools import partial
from operator import ge
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import compressor
from exporters.base import find_target
from generative_runtime import quantized_4bit, quantized_dynamic
from generative_sample import FLOAT, Models, Sample, macs_ratio, opened
from processes import Figures, Row
from versus import latency_ratio

WORST_INT8, WORST_INT4, LEAST_EQUAL = 1.0, 2.0, 0.9
PROMPTS, FIRST = 64, 32
"""Prompts that are continued, and tokens of each that have to be equal."""
CACHED = 48
"""Tokens in the cache where a single one is timed."""
ROWS = 256
"""Held-out sequences that perplexity is of."""
AT_ONCE = 16

Tokens = npt.NDArray[np.int64]


def language(sample: Sample) -> Figures:
    """All figures of the language model."""
    float_file = sample.made("float", **FLOAT) / "model" / "model.onnx"
    dynamic, four = sample.scratch / "dynamic.onnx", sample.scratch / "four.onnx"
    if not four.exists():
        quantized_dynamic(float_file, dynamic)
        quantized_4bit(float_file, four)
    files = {
        "float": float_file,
        "int8": sample.folder / "ort" / "model" / "model.onnx",
        "int4": sample.made("int4", quantize={"mode": "int4"}) / "model" / "model.onnx",
        "quantize_dynamic": dynamic,
        "MatMulNBits": four,
        "repaired": sample.pruned(repair=True) / "model" / "model.onnx",
        "not repaired": sample.pruned(repair=False) / "model" / "model.onnx",
    }
    figures: Figures = {}
    for label, path in files.items():
        figures |= sample.figures(label, partial(_of_form, sample, files, label))
        figures[f"size {label}"] = float_file.stat().st_size / path.stat().st_size
    figures |= sample.figures("own loop", lambda: _as_reported(sample, files["int8"]))
    for label, repair in (("repaired", True), ("not repaired", False)):
        figures[f"macs {label}"] = macs_ratio(sample.pruned(repair=repair))
    return figures


def _of_form(sample: Sample, files: Mapping[str, Path], label: str) -> Figures:
    """Perplexity of a form, what it continues prompts with beside the original, and its speed."""
    with opened({"model": files[label]}) as models:
        found = {f"perplexity {label}": perplexity(sample, models)}
        tokens = continuations(sample, models)
    kept = sample.scratch / "tokens.npy"
    if label == "float":
        np.save(kept, tokens)
    found[f"equal {label}"], found[f"whole {label}"] = agreement(np.load(kept), tokens)
    return found | {f"speed {label}": _speed(sample, files["float"], files[label])}


def perplexity(sample: Sample, models: Models) -> float:
    """Exp of the mean cross-entropy of each next token, from an empty cache."""
    with np.load(sample.folder / "held_out.npz") as stored:
        rows, labels = stored["input_ids"][:ROWS], stored["label"][:ROWS]
    lost = 0.0
    for first in range(0, len(rows), AT_ONCE):
        taken = slice(first, first + AT_ONCE)
        made = models["model"](input_ids=rows[taken], **_empty(sample, len(rows[taken])))
        logits = made["logits"].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        right = np.take_along_axis(logits, labels[taken][..., None], -1)[..., 0]
        lost += float((np.log(np.exp(logits).sum(-1)) - right).sum())
    return float(np.exp(lost / labels.size))


def continuations(sample: Sample, models: Models) -> Tokens:
    """What the user's own loop continues prompts with, one at a time: (prompts, 64)."""
    made = [sample.generate(models, seed, 1)["tokens"] for seed in range(PROMPTS)]
    new: int = _own(sample, "NEW")
    return np.concatenate(made)[:, -new:]


def agreement(exact: Tokens, found: Tokens) -> tuple[float, float]:
    """Share of the first 32 tokens that are equal, and of prompts of which all 32 are."""
    same = exact[:, :FIRST] == found[:, :FIRST]
    return float(same.mean()), float(same.all(1).mean())


def _own(sample: Sample, name: str) -> Any:
    """A constant or function of the sample's loop."""
    return getattr(sample.generate, "__globals__")[name]  # noqa: B009 - functions have it


def _empty(sample: Sample, count: int) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _own(sample, "empty_cache")(count)
    return found


def _speed(sample: Sample, slow: Path, quick: Path) -> float:
    """One token behind a cache of 48, timed in turn on one thread."""
    rng = np.random.default_rng(0)
    past = {
        name: rng.standard_normal((1, one.shape[1], CACHED, one.shape[3])).astype(np.float32)
        for name, one in _empty(sample, 1).items()
    }
    target = find_target("ort")
    with target.open(slow, threads=1) as one, target.open(quick, threads=1) as other:
        return latency_ratio(one, other, {"input_ids": np.array([[5]]), **past}, 1)


def _as_reported(sample: Sample, shipped: Path) -> Figures:
    """The user's loop on the loaded folder gives the tokens that the file gave."""
    report = sample.report().pipeline
    assert report is not None
    with opened({"model": shipped}) as models:
        once = continuations(sample, models)
    again = continuations(sample, compressor.load(sample.folder / "ort"))
    ratio = report.latency[0].ratio
    return {
        "own loop": float((again == once).mean()),
        "speed of a unit": float("nan") if ratio is None else ratio,
    }


def language_rows() -> list[Row]:
    """The table of the language model."""

    def lost(label: str) -> Any:
        return lambda f: 100 * (f[f"perplexity {label}"] / f["perplexity float"] - 1)

    table = [Row("float: perplexity", lambda f: f["perplexity float"], "{:.2f}")]
    worst = {"int8": WORST_INT8, "int4": WORST_INT4}
    for label in ("int8", "quantize_dynamic", "int4", "MatMulNBits", "repaired", "not repaired"):
        limit = worst.get(label)
        name, key = f"{label}: perplexity", lost(label)
        if limit is None:
            table.append(Row(name, key, "{:+.2f} %"))
        else:
            within = f"≤ {limit} %"
            table.append(Row(name, key, "{:+.2f} %", within, partial(ge, limit)))
        table += _greedy_rows(label, required=label == "int8")
    for label in ("repaired", "not repaired"):
        table.append(Row(f"{label}: MACs", _named(f"macs {label}"), "{:.2f}x fewer"))
    table.append(Row("int8: speed of a unit, as reported", _named("speed of a unit"), "{:.2f}x"))
    row = Row("user's loop on compressor.load: equal tokens", _named("own loop"), "{:.3f}", "1")
    table.append(Row(row.name, row.value, row.form, row.required, lambda share: share == 1))
    return table


def _named(key: str) -> Any:
    return lambda found: found[key]


def _greedy_rows(label: str, *, required: bool) -> list[Row]:
    equal = Row(f"{label}: of the first {FIRST} tokens equal", _named(f"equal {label}"), "{:.3f}")
    if required:
        words = f"≥ {LEAST_EQUAL}"
        equal = Row(equal.name, equal.value, equal.form, words, lambda share: share >= LEAST_EQUAL)
    return [
        equal,
        Row(f"{label}: prompts with all {FIRST} equal", _named(f"whole {label}"), "{:.3f}"),
        Row(f"{label}: size", _named(f"size {label}"), "{:.2f}x smaller"),
        Row(f"{label}: speed of a token", _named(f"speed {label}"), "{:.2f}x"),
    ]


def encoder(sample: Sample) -> Figures:
    """All figures of the classifier."""
    model = str(sample.folder / "model.pt")
    float_file = sample.made("float", model=model, **FLOAT) / "model.onnx"
    dynamic = sample.scratch / "dynamic.onnx"
    quantized_dynamic(float_file, dynamic)
    files = {
        "float": float_file,
        "int8": sample.folder / "ort" / "model.onnx",
        "quantize_dynamic": dynamic,
        **{
            label: sample.pruned(repair=repair, model=model) / "model.onnx"
            for label, repair in (("repaired", True), ("not repaired", False))
        },
    }
    with np.load(sample.folder / "eval.npz") as stored:
        tokens, labels = stored["input_ids"], stored["label"]
    figures: Figures = {}
    target = find_target("ort")
    for label, path in files.items():
        with opened({"model": path}) as models:
            logits = [models["model"](input_ids=row[None])["output"] for row in tokens]
        figures[f"accuracy {label}"] = 100 * float(
            (np.concatenate(logits).argmax(1) == labels).mean()
        )
        figures[f"size {label}"] = float_file.stat().st_size / path.stat().st_size
        with target.open(float_file, threads=1) as one, target.open(path, threads=1) as other:
            figures[f"speed {label}"] = latency_ratio(one, other, {"input_ids": tokens[:1]}, 1)
    for label, repair in (("repaired", True), ("not repaired", False)):
        figures[f"macs {label}"] = macs_ratio(sample.pruned(repair=repair, model=model))
    reported = sample.report().graphs["model"].quality[0]
    own = sample.generate(compressor.load(sample.folder / "ort"), 0, 2000)
    found = 100 * float((own["logits"].argmax(1) == own["label"]).mean())
    with np.load(sample.folder / "eval.npz") as stored:
        figures["chance"] = 100 * float(np.bincount(stored["label"]).max() / len(labels))
    assert reported.result is not None
    return figures | {"reported": reported.result, "own loop": found}


def encoder_rows() -> list[Row]:
    """The table of the classifier."""
    table = [
        Row("accuracy, float", _named("accuracy float"), "{:.2f} %"),
        Row("accuracy of the largest family", _named("chance"), "{:.2f} %"),
        Row("accuracy as reported, int8", _named("reported"), "{:.2f} %"),
        Row("user's loop on compressor.load, 2,000 drawn", _named("own loop"), "{:.2f} %"),
    ]
    for label in ("int8", "quantize_dynamic", "repaired", "not repaired"):
        table += [
            Row(f"{label}: accuracy", _named(f"accuracy {label}"), "{:.2f} %"),
            Row(f"{label}: size", _named(f"size {label}"), "{:.2f}x smaller"),
            Row(f"{label}: speed", _named(f"speed {label}"), "{:.2f}x"),
        ]
    for label in ("repaired", "not repaired"):
        table.append(Row(f"{label}: MACs", _named(f"macs {label}"), "{:.2f}x fewer"))
    return table
