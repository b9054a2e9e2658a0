"""`compressor.load`: the graphs of a finished folder, as the user's loop calls them.

    import compressor
    models = compressor.load("out")
    images = generate(models, seed=7, count=1)["image"]

It needs numpy and onnxruntime alone.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from compressor.errors import OutputError, UsageError
from compressor.graph.cache_notes import read
from compressor.graph.tensors import Array, Arrays, TensorSpec
from compressor.pipelines.calls import GraphCall, Graphs, signature_of

MANIFEST = "manifest.json"


def load(folder: str | Path, *, threads: int = 0) -> dict[str, GraphCall]:
    """The graphs that a run of `compress` wrote, by name; a single model is "model".

    Args:
        folder: What `compress` wrote for ONNX Runtime.
        threads: Threads of an inference; 0 is all.

    Returns:
        Name → a graph that is called with named arrays and returns named arrays.

    Raises:
        OutputError: The folder is none of ours, or lacks a file.
    """
    root = Path(folder)
    found = Graphs({name: opened(name, path, threads) for name, path in graphs_of(root).items()})
    for name, defaults in _manifest(root).get("defaults", {}).items():
        found[name].defaults = defaults
    return found


def graphs_of(folder: Path) -> dict[str, Path]:
    """Graph → its file, by the manifest of a folder.

    Raises:
        OutputError: The folder is none of ours, or lacks a file.
    """
    named = _manifest(folder).get("graphs") or {"model": "model.onnx"}
    found = {name: folder / path for name, path in named.items()}
    for name, path in found.items():
        if not path.is_file():
            raise OutputError(f"graph {name!r} of {folder} is gone: there is no {path}")
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(
            f"{folder} is no result of compress: {MANIFEST} cannot be read ({error})",
            hint="Name the folder that `compress ... -o FOLDER` wrote.",
        ) from error
    return found


def opened(name: str, path: Path, threads: int) -> GraphCall:
    """A model's file as a graph that is called with named arrays.

    A cache of integers is taken in numbers, too, and given as it is.
    """
    import onnxruntime  # noqa: PLC0415 - `import compressor` does without

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = (
        [TensorSpec(one.name, _dtype(one.type), tuple(one.shape)) for one in all_of()]
        for all_of in (session.get_inputs, session.get_outputs)
    )
    names = [output.name for output in outputs]

    def run(feeds: Arrays) -> dict[str, Array]:
        try:
            made = session.run(None, dict(feeds))
        except Exception as error:  # the runtime has classes of its own, without a common one
            raise UsageError(f"ONNX Runtime refuses the call: {error}") from error
        return dict(zip(names, made, strict=True))

    call = GraphCall(name, inputs, run, signature_of(inputs, outputs))
    call.caches = read(session.get_modelmeta().custom_metadata_map)
    return call


def _dtype(kind: str) -> np.dtype[np.generic]:
    """The element type of `tensor(float16)` and the like."""
    plain = kind.removeprefix("tensor(").removesuffix(")")
    return np.dtype({"float": "float32", "double": "float64", "string": "O"}.get(plain, plain))
