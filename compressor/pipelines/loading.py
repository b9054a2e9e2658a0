"""`compressor.load`: the graphs of a finished folder, as the user's loop calls them.

    import compressor
    models = compressor.load("out")
    images = generate(models, seed=7, count=1)["image"]

It needs numpy and the runtime alone: onnxruntime, or what the target of the run has.
"""

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from compressor.errors import CompressorError, OutputError, TargetError, UsageError
from compressor.graph.cache_notes import read
from compressor.graph.runtime import onnx_runtime
from compressor.graph.session_specs import session_specs
from compressor.graph.shared_cache import SharedCaches
from compressor.graph.tensors import Array, Arrays
from compressor.pipelines.calls import GraphCall, Graphs, Outputs, signature_of
from compressor.system.output_folder import within

MANIFEST = "manifest.json"


class Loaded(Graphs):
    """The graphs of a folder by name, and the only one of them as a function.

        outputs = model(input_ids=ids, attention_mask=mask)    # arrays, by the names of its inputs
        outputs = model("a text", "another")                   # as people have it

    Texts, pictures and sound become inputs as the model's own files in the folder say: tokens of
    texts are filled up to the longest, with zeros in `attention_mask`.
    """

    folder: Path = Path()

    def __call__(self, *raw: object, **arrays: object) -> Outputs:
        """Run the only graph once.

        Raises:
            UsageError: There are several graphs, a call does not fit, or nothing in the folder says
                how raw samples become inputs.
            DataError: A sample cannot be read.
        """
        graph = self.only
        if not raw:
            return graph(**arrays)
        from compressor.pipelines.raw_samples import inputs_of  # noqa: PLC0415 - arrays do without

        tokens = graph.known.input("input_ids")
        length = None if tokens is None or len(tokens.shape) != 2 else tokens.shape[1]
        fixed = length if isinstance(length, int) else None
        made = inputs_of(raw, self.folder, graph.known.names, fixed)
        return graph(**{**made, **arrays})

    @property
    def only(self) -> GraphCall:
        """The graph, where there is one."""
        if len(self) != 1:
            raise UsageError(
                f"{self.folder} has several graphs: {', '.join(self)}",
                hint='Call one by its name: models["NAME"](...).',
            )
        return next(iter(self.values()))

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the outputs; none where they have only numbers."""
        from calibration.encoders.model_folder import model_folder  # noqa: PLC0415 - as above

        found = model_folder(self.folder)
        return () if found is None else found.labels

    @cached_property
    def metadata(self) -> Mapping[str, str]:
        """What the file of the only graph says of itself."""
        return self.only.metadata


def load(folder: str | Path, *, threads: int = 0) -> Loaded:
    """The graphs that a run of `compress` wrote, by name; a single model is "model".

    Args:
        folder: What `compress` wrote for a runtime of CPUs.
        threads: Threads of an inference; 0 is all.

    Returns:
        Name → a graph that is called with named arrays and returns named arrays. Where there is one
        graph, it can itself be called likewise, or with texts, pictures and sound.

    Raises:
        OutputError: The folder is none of ours, or lacks a file.
        TargetError: The runtime that it is for is not usable here.
    """
    root = Path(folder)
    found = Loaded({name: opened(name, path, threads) for name, path in graphs_of(root).items()})
    found.folder = root
    for name, defaults in defaults_in(root).items():
        found[name].defaults = defaults
    return found


def defaults_in(folder: Path) -> dict[str, dict[str, float]]:
    """Graph → inputs that a call may leave out, and what they are then, by the manifest.

    Raises:
        OutputError: The folder is none of ours.
    """
    found: dict[str, dict[str, float]] = _manifest(folder).get("defaults", {})
    return found


def graphs_of(folder: Path) -> dict[str, Path]:
    """Graph → its file, by the manifest of a folder.

    Raises:
        OutputError: The folder is none of ours, or lacks a file.
    """
    named = _manifest(folder).get("graphs") or {"model": "model.onnx"}
    found = {}
    for name, told in named.items():
        path = within(folder, told)
        if path is None:
            raise OutputError(f"graph {name!r} of {folder} lies outside of it: {told!r:.80}")
        found[name] = path
        if not path.is_file():
            raise OutputError(f"graph {name!r} of {folder} is gone: there is no {path}")
    return found


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("graphs", {}), dict):
            raise ValueError("it is no manifest")
    except (OSError, ValueError, RecursionError) as error:
        raise OutputError(
            f"{folder} is no result of compress: {MANIFEST} cannot be read ({error})",
            hint="Name the folder that `compress ... -o FOLDER` wrote.",
        ) from error
    return found


def opened(name: str, path: Path, threads: int) -> GraphCall:
    """A model's file as a graph that is called with named arrays.

    A cache of integers is taken in numbers, too, and given as it is. One in shared buffers is taken
    and given like any other (`compressor.graph.shared_cache`).
    """
    if path.suffix != ".onnx" and (own := _opened_by_target(name, path, threads)) is not None:
        return own
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, outputs = session_specs(session)
    names = [output.name for output in outputs]

    metadata = dict(session.get_modelmeta().custom_metadata_map)
    shared = SharedCaches.of(session)
    if shared is not None:
        inputs, outputs = shared.inputs, shared.outputs

    def run(feeds: Arrays) -> dict[str, Array]:
        try:
            if shared is not None:
                return shared.run(feeds)
            made = session.run(None, dict(feeds))
        except CompressorError:
            raise
        except Exception as error:  # the runtime has classes of its own, without a common one
            raise UsageError(f"ONNX Runtime refuses the call: {error}") from error
        return dict(zip(names, made, strict=True))

    call = GraphCall(name, inputs, run, signature_of(inputs, outputs))
    call.metadata = metadata
    call.caches = read(call.metadata)
    return call


def _opened_by_target(name: str, path: Path, threads: int) -> GraphCall | None:
    """A file that only the runtime of a target reads; None where it is of none.

    Raises:
        TargetError: That runtime is not usable here.
        UsageError: It refuses the call.
    """
    from exporters.base import target_of  # noqa: PLC0415 - ONNX files do without

    target = target_of(path)
    if target is None:
        return None
    reason = target.why_not_available()
    if reason is not None:
        raise TargetError(f"{path} is for {target.title}, which is not available here: {reason}")
    runner = target.open(path, threads=threads)

    def run(feeds: Arrays) -> dict[str, Array]:
        return runner.run(feeds)

    inputs, outputs = list(runner.inputs), list(runner.outputs)
    return GraphCall(name, inputs, run, signature_of(inputs, outputs))
