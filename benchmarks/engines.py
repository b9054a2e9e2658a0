"""TensorRT engines of networks of many kinds, without a GPU: what is built, and what it costs.

    python benchmarks/engines.py [NAME ...] [--precision int8 fp16]

Networks are the sample's, ResNet-20, one like MiniLM-L6, and those of the zoo, all with
random weights: quality is the cosine of the outputs with those of the original. Time and memory are
medians of the process that runs the `build_engine.py` of the folder, and of one that calls
`build_serialized_network` on the same ONNX and nothing else, in turns. Needs the extras torch, dev
and trt-rtx.
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from rich.console import Console
from rich.table import Table

from compressor import Recipe, compress
from compressor.errors import CompressorError
from compressor.results.graph_report import GraphReport

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from networks import ZOO, Network
from networks.build import Input, image, tokens

from resnet import resnet20

NAMES = ("digits", "resnet20", "minilm", "diffusion_unet", "dcgan_generator", "vae", "gpt2", "vit")
SAMPLES = 16
BUILDS = 3
BARE = """
import sys, json
import tensorrt_rtx as trt
path, profiles = sys.argv[1], json.loads(sys.argv[2])
logger = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(logger)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
assert trt.OnnxParser(network, logger).parse_from_file(path)
config = builder.create_builder_config()
for shapes in profiles:
    profile = builder.create_optimization_profile()
    for name, span in shapes.items():
        profile.set_shape(name, *map(tuple, span))
    config.add_optimization_profile(profile)
assert builder.build_serialized_network(network, config) is not None
import os; os._exit(0)
"""


def digits() -> torch.nn.Module:
    """The sample's network."""
    path = Path(__file__).parents[1] / "samples" / "digits" / "model.py"
    spec = importlib.util.spec_from_file_location("digits_model", path)
    assert spec is not None, "a file of Python"
    assert spec.loader is not None, "a file of Python"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: torch.nn.Module = module.build()
    return made


def minilm() -> torch.nn.Module:
    """Six layers of width 384, as of all-MiniLM-L6-v2."""
    from transformers import BertConfig, BertModel  # noqa: PLC0415 - heavy: only where asked for

    config = BertConfig(
        hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536
    )
    return BertModel(config, add_pooling_layer=False)


OWN = (
    Network("digits", digits, {"image": image(1)}),
    Network("resnet20", resnet20, {"image": image()}),
    Network("minilm", minilm, {"input_ids": tokens(32, 30522), "attention_mask": Input((32,), 2)}),
)


def cost(arguments: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of this interpreter with these arguments."""
    began, peak = time.perf_counter(), 0
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.Error:
            break
        time.sleep(0.01)
    if process.wait() != 0:
        raise SystemExit(process.stderr.read().decode() if process.stderr else "it failed")
    return time.perf_counter() - began, peak


def built(network: Network, precision: str, out: Path) -> GraphReport:
    """`compress --target trt` on the captured graph."""
    document = {
        "target": "trt",
        "trt": {"precision": precision},
        "quantize": {"batch": 4},
        "measure": {"seconds": 0.1, "metric": "cosine"},
    }
    recipe = Recipe.model_validate(document)
    feeds = network.feeds(SAMPLES)
    report = compress(network.captured().model, calibration=feeds, recipe=recipe, output=out)
    return report.graphs["model"]


def row(network: Network, precision: str) -> tuple[str, ...]:
    """One engine: what became of it, its quality, and its build against the bare one."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        try:
            graph = built(network, precision, out)
        except CompressorError as error:
            return (network.name, precision, f"{type(error).__name__}: {error}", *[""] * 6)
        engine = graph.engine
        assert engine is not None
        if engine.file is None:
            return (network.name, precision, f"{engine.status}: {engine.reason}", *[""] * 6)
        own = [str(out / "build_engine.py"), "--output", str(out / "again")]
        other = ["-c", BARE, str(out / "model.onnx"), json.dumps(engine.profiles)]
        turns = [(*cost(own), *cost(other)) for _ in range(BUILDS)]
    ours, ours_peak, bare, bare_peak = (
        statistics.median(column) for column in zip(*turns, strict=True)
    )
    cosine = graph.quality[0].result if graph.quality else None
    holds = ours <= 1.2 * bare + 2 and ours_peak <= bare_peak + 300e6
    return (
        network.name,
        precision,
        engine.status,
        f"{sum(engine.integer.values())} of "
        f"{sum(engine.integer.values()) + sum(engine.floating.values())}",
        "" if cosine is None else f"{cosine:.4f}",
        f"{ours:.1f} s",
        f"{bare:.1f} s",
        f"{(ours_peak - bare_peak) / 1e6:+.0f} MB",
        "yes" if holds else "NO",
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--precision", nargs="+", default=["int8", "fp16"])
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(NAMES)):
        parser.error(f"unknown: {', '.join(unknown)}; choose of: {', '.join(NAMES)}")
    table = Table("network", "precision", "engine", title="Engines, built without a GPU")
    for heading in ("INT8 layers", "cosine", "build", "bare", "memory over bare", "within bounds"):
        table.add_column(heading, justify="right")
    for network in (*OWN, *ZOO):
        if network.name in (options.names or NAMES):
            for precision in options.precision:
                found = row(network, precision)
                print(" · ".join(found), file=sys.stderr)
                table.add_row(*found)
    Console().print(table)


if __name__ == "__main__":
    main()
