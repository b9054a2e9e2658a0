"""Decoders as INT8: tokens a second in a loop, a prompt at once, and the same with an INT8 cache.

    python benchmarks/decoding.py [--widths 256 768] [--seconds 4] [--trained out/language]

GPTs of 6 layers with heads of 64 channels and 8,192 tokens, whose cache comes in and goes out
(`decoding_net.py`). Weights are random, of GPT-2's initialization: speed depends on shapes alone.
Ours is `compress` with its defaults, with `--kv-cache int8`, and either with `--contrib`, where the
runtime appends to the cache in place. Beside it stand ONNX Runtime's
`quantize_dynamic` and its MatMulNBits in blocks of 128 (accuracy level 4). Each is timed in turn
with float on one thread, CPU time of the thread: 8 tokens one by one in a user's loop, behind 256
and behind 960, and a prompt of 128 at once. dB are 10 · log10(Σ y² / Σ (y - ŷ)²) of the logits of a
prompt and of 16 tokens after it. A decoder whose embedding of 32,000 x 768 is also its head tells
the share of the file.

`--trained` names the folder of `samples/language/train.py`; its decoder tells the perplexity of
sequences that training has not seen, token by token with the cache. Ends with 1 when a requirement
of this machine does not hold: with VNNI others than without.
"""

import argparse
import importlib
import logging
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import thread_time

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import (
    DefaultWeightOnlyQuantConfig,
    MatMulNBitsQuantizer,
)
from rich.console import Console
from rich.table import Table

from compressor import Recipe, compress, load
from compressor.graph.tensors import Array
from compressor.pipelines.calls import GraphCall
from compressor.pipelines.loading import opened
from compressor.recipe.loading import ModelOptions
from compressor.recipe.measuring import MeasureOptions
from compressor.recipe.quantizing import QuantizeOptions
from compressor.system.hardware import has_int8_dot
from decoding_net import GPT, HEAD, LAYERS, VOCABULARY, exported, names

SAMPLES, PROMPT, NEW = 8, 48, 16
BURST = 8
"""Tokens that are written at a time."""
CONTEXT, LONG, READ = 256, 960, 128
REQUIRED = {  # width: tokens a second at 256, at 960 with an INT8 cache, a prompt of 128
    True: {256: (2.6, 3.2, 2.2), 768: (3.0, 3.2, 2.2)},
    False: {256: (1.6, 2.0, 1.3), 768: (1.8, 2.0, 1.3)},
}
DECIBELS, TABLE, PERPLEXITY = 29.0, 0.27, 1.0
OURS: dict[str, dict[str, object]] = {
    "ours": {},
    "ours, INT8 cache": {"kv_cache": "int8"},
    "ours, --contrib": {"contrib": True},
    "ours, INT8 cache, --contrib": {"kv_cache": "int8", "contrib": True},
}
"""Name → how it is quantized."""

Arrays = dict[str, Array]


def past(width: int, length: int, batch: int = 1, seed: int = 0) -> Arrays:
    """A cache of numbers, of about the size that the network makes them."""
    rng = np.random.default_rng(seed)
    shape = (batch, width // HEAD, length, HEAD)
    return {
        name: rng.standard_normal(shape, np.float32) * 0.3
        for name in names(LAYERS, "past_key_values")
    }


def tokens(count: int, length: int, seed: int = 0) -> Array:
    """Drawn at random."""
    return np.random.default_rng(seed).integers(0, VOCABULARY, (count, length))


def alone(path: Path) -> GraphCall:
    """A graph as `compressor.load` opens it, on one thread."""
    return opened("model", path, 1)


def called(graph: GraphCall, ids: Array, cache: Arrays) -> tuple[Array, Arrays]:
    """Logits, and the cache after a call; it is in whatever type the graph gives it."""
    made = graph(input_ids=ids, **cache)
    return made["logits"], {
        name: made[name.replace("past_key_values", "present")] for name in cache
    }


def data(graph: GraphCall, width: int) -> Arrays:
    """What a user records: tokens behind the cache of a prompt."""
    ids = tokens(SAMPLES, PROMPT + NEW)
    _, cache = called(graph, ids[:, :PROMPT], past(width, 0, SAMPLES))
    return {"input_ids": ids[:, PROMPT:], **cache}


def decibels(exact: GraphCall, made: GraphCall, width: int) -> float:
    """Of the logits of a prompt, and of tokens behind it, one by one."""
    ids, signal, noise = tokens(4, PROMPT + NEW, 1), 0.0, 0.0
    for row in ids[:, None]:
        caches = [past(width, 0), past(width, 0)]
        for begin, end in ((0, PROMPT), *((at, at + 1) for at in range(PROMPT, PROMPT + NEW))):
            found = []
            for place, graph in enumerate((exact, made)):
                logits, caches[place] = called(graph, row[:, begin:end], caches[place])
                found.append(logits.astype(np.float64))
            signal += np.square(found[0]).sum()
            noise += np.square(found[0] - found[1]).sum()
    return 10 * float(np.log10(signal / noise))


def writing(graph: GraphCall, width: int, length: int) -> Callable[[], None]:
    """A loop of `BURST` tokens behind a cache of that length, in the type that the graph gives."""
    _, filled = called(graph, tokens(1, 1), past(width, length - 1))

    def run() -> None:
        cache, ids = filled, tokens(1, 1)
        for _ in range(BURST):
            logits, cache = called(graph, ids, cache)
            ids = logits[:, -1:].argmax(-1)

    return run


def reading(graph: GraphCall, width: int) -> Callable[[], None]:
    """A prompt at once."""
    ids, none = tokens(1, READ), past(width, 0)
    return lambda: void(called(graph, ids, none))


def void(value: object) -> None:
    """Nothing."""
    del value


def speeds(runs: Mapping[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """Each over the first: the median over rounds, in which all are timed in turn."""
    spent: dict[str, list[float]] = {name: [] for name in runs}
    began = thread_time()
    for run in runs.values():
        run()
    while thread_time() - began < seconds * len(runs) or len(next(iter(spent.values()))) < 5:
        for name, run in runs.items():
            started = thread_time()
            run()
            spent[name].append(thread_time() - started)
    first = np.array(next(iter(spent.values())))
    return {name: float(np.median(first / np.array(own))) for name, own in spent.items()}


@dataclass(frozen=True)
class Decoder:
    """The forms of one network: name → file."""

    width: int
    files: Mapping[str, Path]

    @classmethod
    def made(cls, width: int, folder: Path, seconds: float, forms: Sequence[str]) -> "Decoder":
        """Export, and quantize in those ways and the runtime's."""
        torch.manual_seed(0)
        path = folder / "float.onnx"
        exported(GPT(width), path)
        files = {"float": path}
        for name in forms:
            options = OURS[name]
            recipe = Recipe(
                quantize=QuantizeOptions.model_validate(options),
                measure=MeasureOptions(seconds=seconds, context=CONTEXT),
            )
            known, output = data(alone(path), width), folder / name
            compress(path, calibration=known, evaluation=known, recipe=recipe, output=output)
            files[name] = output / "model.onnx"
        return cls(width, files | runtimes_own(path, folder))

    def measured(self, seconds: float) -> dict[str, dict[str, float]]:
        """Form → figure → value."""
        graphs = {name: alone(path) for name, path in self.files.items()}
        width, found = self.width, dict[str, dict[str, float]]()
        kinds: dict[str, Callable[[GraphCall], Callable[[], None]]] = {
            f"{CONTEXT} of cache": lambda graph: writing(graph, width, CONTEXT),
            f"{LONG} of cache": lambda graph: writing(graph, width, LONG),
            f"prompt of {READ}": lambda graph: reading(graph, width),
        }
        for kind, how in kinds.items():
            for name, speed in speeds({n: how(g) for n, g in graphs.items()}, seconds).items():
                found.setdefault(name, {})[kind] = speed
        whole = size_of(self.files["float"])
        for name, graph in graphs.items():
            if name != "float":
                found[name]["dB"] = decibels(graphs["float"], graph, width)
                found[name]["file"] = size_of(self.files[name]) / whole
        return found


def size_of(path: Path) -> int:
    """With what lies beside it."""
    return sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))


def runtimes_own(path: Path, folder: Path) -> dict[str, Path]:
    """ONNX Runtime's dynamic quantization, and its weights in blocks."""
    found = {name: folder / f"{name}.onnx" for name in ("quantize_dynamic", "4 bits", "8 bits")}
    quantize_dynamic(path, found["quantize_dynamic"], weight_type=QuantType.QInt8, per_channel=True)
    for bits in (4, 8):
        how = DefaultWeightOnlyQuantConfig(
            block_size=128, is_symmetric=True, accuracy_level=4, bits=bits
        )
        quantizer = MatMulNBitsQuantizer(onnx.load(path), algo_config=how)
        quantizer.process()
        quantizer.model.save_model_to_file(str(found[f"{bits} bits"]), False)
    return found


def table(folder: Path, seconds: float) -> float:
    """Share of float's file of a decoder whose embedding is its head, 32,000 x 768."""
    torch.manual_seed(0)
    network = GPT(768, vocabulary=32_000, layers=1)
    network.head.weight = network.tokens.weight
    path = folder / "tied.onnx"
    exported(network, path)
    ids = tokens(SAMPLES, NEW)
    known = {
        "input_ids": ids,
        **{n: a for n, a in past(768, PROMPT, SAMPLES).items() if ".0." in n},
    }
    recipe = Recipe(measure=MeasureOptions(seconds=seconds, context=CONTEXT))
    compress(path, calibration=known, evaluation=known, recipe=recipe, output=folder / "tied")
    return size_of(folder / "tied" / "model.onnx") / size_of(path)


FORMS: dict[str, dict[str, object]] = {"float": {"mode": "none"}, **OURS}
"""Form of the trained decoder → how it is quantized."""


def perplexity(folder: Path, scratch: Path, form: str) -> float:
    """Of the sample's trained decoder, on sequences that training has not seen."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "samples" / "language"))
    sample = importlib.import_module("model")  # of the sample
    network: torch.nn.Module = sample.build()
    network.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    with np.load(folder / "held_out.npz") as arrays:
        ids, labels = arrays["input_ids"].astype(np.int64), arrays["label"].astype(np.int64)
    caches = names(sample.LAYERS, "past_key_values")
    empty = {name: np.zeros((1, sample.HEADS, 0, HEAD), np.float32) for name in caches}
    sizes = (f"{name}:float32[batch,{sample.HEADS},past,{HEAD}]" for name in caches)
    recipe = Recipe(
        model=ModelOptions(inputs=("input_ids:int64[batch,sequence]", *sizes)),
        quantize=QuantizeOptions.model_validate(FORMS[form]),
        measure=MeasureOptions(seconds=0.3),
    )
    known = _recorded(network, ids[64:80])
    compress(network, calibration=known, evaluation=known, recipe=recipe, output=scratch / form)
    graph = load(scratch / form, threads=1)["model"]
    return _perplexity(graph, ids[:48], labels[:48], empty)


def _recorded(network: torch.nn.Module, ids: Array) -> Arrays:
    """Tokens behind the cache of those before them."""
    half = ids.shape[1] // 2
    nothing = torch.zeros(len(ids), 4, 0, 64)
    caches = names(4, "past_key_values")
    with torch.inference_mode():
        made = network(torch.from_numpy(ids[:, :half]), **dict.fromkeys(caches, nothing))
    cache = {name: made[name.replace("past_key_values", "present")].numpy() for name in caches}
    return {"input_ids": ids[:, half:], **cache}


def _perplexity(graph: GraphCall, ids: Array, labels: Array, empty: Arrays) -> float:
    """Exp of the mean cross-entropy: half of each sequence is read, the rest fed token by token."""
    losses: list[float] = []
    half = ids.shape[1] // 2
    for row, label in zip(ids[:, None], labels[:, None], strict=True):
        cache = empty
        for begin, end in ((0, half), *((at, at + 1) for at in range(half, ids.shape[1]))):
            logits, cache = called(graph, row[:, begin:end], cache)
            wide = logits[0].astype(np.float64)
            chosen = wide[np.arange(end - begin), label[0, begin:end]]
            top = wide.max(-1)
            losses += (np.log(np.exp(wide - top[:, None]).sum(-1)) + top - chosen).tolist()
    return float(np.exp(np.mean(losses)))


def judged(value: float, least: float, form: str = "{:.2f}x") -> tuple[str, bool]:
    """A figure with what it has to be at least."""
    held = value >= least
    return f"{form.format(value)} (≥ {form.format(least)}: {'yes' if held else 'NO'})", held


def rows(width: int, found: Mapping[str, Mapping[str, float]]) -> tuple[list[list[str]], bool]:
    """The lines of one network, and whether what is required holds."""
    here, cached, prompt = REQUIRED[has_int8_dot("host")][width]
    least = {
        ("ours", f"{CONTEXT} of cache"): here,
        ("ours, INT8 cache", f"{LONG} of cache"): cached,
        ("ours", f"prompt of {READ}"): prompt,
        ("ours", "dB"): DECIBELS,
    }
    lines, holds = [], True
    for name, figures in found.items():
        if name == "float":
            continue
        cells = [f"width {width}, {name}"]
        for kind, value in figures.items():
            form = {"dB": "{:.1f}", "file": "{:.3f}"}.get(kind, "{:.2f}x")
            required = least.get((name, kind))
            told, held = (form.format(value), True)
            if required is not None:
                told, held = judged(value, required, form)
            cells.append(told)
            holds &= held
        lines.append(cells)
    return lines, holds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--widths", type=int, nargs="*", default=[256, 768], choices=[256, 768])
    parser.add_argument("--seconds", type=float, default=4.0, help="for each form and figure")
    parser.add_argument("--forms", nargs="*", default=list(OURS), choices=list(OURS))
    parser.add_argument("--trained", type=Path, help="folder of samples/language/train.py")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # the exporter and the runtime advise
    dot = "with" if has_int8_dot("host") else "without"
    shown = Table(title=f"Over float, one thread, a CPU {dot} an 8-bit dot product")
    kinds = (f"{CONTEXT} of cache", f"{LONG} of cache", f"prompt of {READ}", "dB", "file")
    for heading in ("network", *kinds):
        shown.add_column(heading)
    held = True
    with tempfile.TemporaryDirectory(prefix="decoding-") as name:
        for width in options.widths:
            folder = Path(name) / str(width)
            folder.mkdir()
            decoder = Decoder.made(width, folder, options.seconds / 4, options.forms)
            found = decoder.measured(options.seconds)
            lines, fine = rows(width, found)
            held &= fine
            for cells in lines:
                shown.add_row(*cells)
                print(" | ".join(cells), flush=True)  # minutes pass until there is a table
        console = Console(width=150)
        console.print(shown)
        share = table(Path(name), options.seconds / 4)
        console.print(f"a table of 32,000 x 768 that is the head, too: {share:.3f} of the file")
        held &= share <= TABLE
        if options.trained is not None:
            told = {form: perplexity(options.trained, Path(name), form) for form in FORMS}
            worst = 100 * (max(told.values()) / told["float"] - 1)
            said = ", ".join(f"{name} {value:.3f}" for name, value in told.items())
            console.print(f"perplexity of the trained decoder: {said}; {worst:+.2f} % at worst")
            held &= worst <= PERPLEXITY
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
