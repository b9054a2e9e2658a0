"""One network's graphs, in each kind: for `trt_device.py`, in a process of its own, without a GPU.

    python benchmarks/trt_device_graphs.py JOB

JOB is a JSON file that names the file of the answer: kind → why `compress` refused it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from compressor import compress
from compressor.errors import CompressorError
from compressor.graph.files import save_model
from compressor.recipe.recipe import Recipe
from compressor.results.report import Report
from trt_device_nets import Net, net_of
from trt_device_parts import KINDS, is_prepared, mark_prepared, slug, written


def recipe(net: Net, kind: str, backend: str) -> Recipe:
    """One kind's, with a short measurement: random weights have no quality that could be lost."""
    settings = KINDS[kind]
    document: dict[str, Any] = {
        "target": "trt",
        "measure": {"seconds": 1.0},
        **settings,
        "trt": {**settings["trt"], "backend": backend, "profiles": net.profiles},
        "quantize": {"keep_ruined": True},
    }
    if net.loop is None:
        document["quantize"]["batch"] = len(next(iter(net.batch().values())))
    return Recipe.model_validate(document)


def prepare(job: dict[str, Any]) -> None:
    """Make the graph and compress it in each kind, without engines; tell what is refused.

    What an earlier run made stays.
    """
    net, folder, refused = net_of(job["network"]), Path(job["folder"]), {}
    source = folder / f"{net.name}.onnx"
    if not source.is_file():
        aside = folder / f".{net.name}.new.onnx"
        save_model(net.make(net), aside)
        aside.replace(source)
    for kind in KINDS:
        output = folder / slug(net.name, kind)
        if kind not in job["kinds"] or is_prepared(output):
            continue
        try:
            compressed(net, source, recipe(net, kind, "script"), output)
            mark_prepared(output)
        except CompressorError as error:
            refused[kind] = str(error)
        written(Path(job["answer"]), refused)


def compressed(net: Net, source: Path, asked: Recipe, output: Path) -> Report:
    """A run of `compress`."""
    known: dict[str, Any] = {"recipe": asked, "output": output, "force": True, "progress": False}
    if net.loop is not None:
        return compress({net.graph: source}, pipeline=net.loop, units=net.count, **known)
    return compress(source, calibration=net.samples(), **known)


if __name__ == "__main__":
    prepare(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
