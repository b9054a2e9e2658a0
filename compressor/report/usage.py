"""`USAGE.md`: how to run this very artifact, make it again, and tell that it is whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from calibration.encoders.model_folder import ModelFolder, task_by_name
from compressor.graph.sizes import parse_size
from compressor.graph.tensors import TensorSpec
from compressor.recipe.notation import parse_input
from compressor.report.markdown import escaped
from compressor.results.graph_report import GraphReport
from compressor.results.report import Report
from compressor.system.output_folder import sha256
from compressor.system.quoting import command_line, quoted
from exporters import DEFAULT_TARGET
from exporters.base import target_of

USAGE = "USAGE.md"

_OPEN = 8
"""A size that an example gives to what is left open."""

_OPTIMUM = {
    "text-classification": "ORTModelForSequenceClassification",
    "token-classification": "ORTModelForTokenClassification",
    "question-answering": "ORTModelForQuestionAnswering",
    "multiple-choice": "ORTModelForMultipleChoice",
    "fill-mask": "ORTModelForMaskedLM",
    "feature-extraction": "ORTModelForFeatureExtraction",
    "image-classification": "ORTModelForImageClassification",
    "image-segmentation": "ORTModelForSemanticSegmentation",
    "audio-classification": "ORTModelForAudioClassification",
    "audio-frame-classification": "ORTModelForAudioFrameClassification",
    "automatic-speech-recognition": "ORTModelForCTC",
    "text-generation": "ORTModelForCausalLM",
    "text2text-generation": "ORTModelForSeq2SeqLM",
}
"""Task → the class of Optimum that loads an ONNX file for it."""

BUILDER = "build_engine.py"
STAGE = "shared cache"
"""The stage that puts a cache into buffers, at the end of its name in a pipeline."""
_READING = frozenset(
    {"--model", "--model-args", "--state-key", "--task", "--trust-pickle", "--input", "--noise"}
    | {"--recipe"}
)
"""Flags without which a model is not read, or read otherwise."""

_ASKED = {"image": '"picture.png"', "audio": '"sound.wav"'}


def usage_page(report: Report, folder: Path, beside: ModelFolder | None) -> str:
    """The page.

    Args:
        report: The account of the run, with the inputs of each graph.
        folder: Holds the artifact now; the report has where it will lie.
        beside: The model's own folder, for its task and what reads its data.
    """
    lines = [f"# {escaped(Path(report.artifact or folder).name)}", ""]
    compiled = [graph.engine for graph in report.graphs.values() if graph.engine is not None]
    if compiled:
        lines += _of_engine(report)
    else:
        lines += _of_runtime(report, folder, beside)
    lines += _again(report)
    lines += _verified(report, folder)
    return "\n".join(lines) + "\n"


def use_line(report: Report) -> str | None:
    """One line that runs the artifact, for the terminal; None where an engine has to be built."""
    if any(graph.engine is not None for graph in report.graphs.values()):
        return None
    return f"compressor.load({quoted(report.artifact or '')}) · {report.artifact}/{USAGE} says more"


def use_code(report: Report) -> str:
    """Lines of Python that run the artifact; empty where an engine has to be built first."""
    if report.artifact is None or use_line(report) is None:
        return ""
    return "\n".join(_by_arrays(report, _threads(report)))


def _of_engine(report: Report) -> list[str]:
    known = [path for role, path in report.files.items() if Path(role).name == BUILDER]
    return [
        "An engine is of the machine and the versions that it was built with. On another one, "
        "build it there from the graph beside it:",
        "",
        *(f"    {command_line(['python', script])}" for script in known or [BUILDER]),
        "",
    ]


def _of_runtime(report: Report, folder: Path, beside: ModelFolder | None) -> list[str]:
    threads = _threads(report)
    own = _by_target(report, folder, threads)
    lines = ["## Run it", ""]
    raw = _raw(beside) if len(report.graphs) == 1 and report.pipeline is None else None
    if raw is not None:
        lines += ["With the model's own preprocessing:", ""]
        lines += _code(
            "import compressor",
            "",
            f"model = compressor.load({quoted(report.artifact or '')}, threads={threads})",
            f"outputs = model({raw})",
            "print({name: array.shape for name, array in outputs.items()})",
        )
        lines += ["With arrays of yours, by the names of its inputs:", ""]
    if report.pipeline is not None and ":" in report.pipeline.name:
        lines += ["Your own loop runs on it:", ""]
        lines += _code(*_by_loop(report, report.pipeline.name, threads))
        lines += ["Each graph by itself:", ""]
    lines += _code(*_by_arrays(report, threads))
    if own is not None:
        return [*lines, own, ""]
    lines += [
        "It needs numpy and onnxruntime alone. Without this package it is a file for "
        "`onnxruntime.InferenceSession`, with `intra_op_num_threads` of its options set to "
        f"{threads}: there speed was measured.",
        "",
    ]
    return [*lines, *_of_buffers(report), *_of_optimum(report, beside)]


def _of_buffers(report: Report) -> list[str]:
    """How a cache in shared buffers is called with and without this package."""
    stages = [one for one in report.stages if one.name.endswith(STAGE) and one.changed]
    known: dict[str, str] = stages[0].parameters["buffers"] if stages else {}
    if not known:
        return []
    taken, given = next(iter(known.items()))
    handed = ", ".join(f'"{name}": outputs["{output}"]' for name, output in known.items())
    return [
        "Its cache lies in buffers that the runtime appends to in place. `compressor.load` makes "
        "them, and is called like a graph whose cache grows: begin with zero tokens, and hand on "
        "what came out, which cannot be written to.",
        "",
        *_code(
            f"cache = {{{handed}}}",
            "outputs = model(**new_tokens, **cache)  # and so on, token by token",
        ),
        "With onnxruntime alone bind one array of any length as each input of the cache and the "
        "output of its name, and feed the two lengths:",
        "",
        *_code(
            "binding = session.io_binding()",
            f'binding.bind_ortvalue_input("{taken}", buffer)  # likewise the others',
            f'binding.bind_ortvalue_output("{given}", buffer)',
            'binding.bind_cpu_input("seqlens_k", np.full(batch, past + new - 1, "int32"))',
            'binding.bind_cpu_input("total_sequence_length", np.array(past + new, "int32"))',
            "session.run_with_iobinding(binding)",
        ),
        "Several new tokens behind a cache are called one sample at a time.",
        "",
    ]


def _by_target(report: Report, folder: Path, threads: int) -> str | None:
    """How its file is loaded without this package, where only one runtime reads that."""
    path = report.files.get("model") or next(
        (path for role, path in report.files.items() if role.endswith("/model")), None
    )
    target = None if path is None else target_of(Path(path))
    if path is None or target is None:
        return None
    return target.loading(folder / Path(path).relative_to(report.artifact or ""), threads)


def _by_loop(report: Report, loop: str, threads: int) -> Iterator[str]:
    where, _, function = loop.rpartition(":")
    yield "import compressor"
    yield f"from {Path(where).stem} import {function}  # {where}"
    yield ""
    yield f"models = compressor.load({quoted(report.artifact or '')}, threads={threads})"
    yield f"made = {function}(models, seed=0, count=1)"
    yield "print({name: array.shape for name, array in made.items()})"


def _by_arrays(report: Report, threads: int) -> Iterator[str]:
    yield from ("import numpy as np", "import compressor", "")
    yield f"model = compressor.load({quoted(report.artifact or '')}, threads={threads})"
    for name in report.graphs:
        specs = _inputs(report, name)
        called = "model" if len(report.graphs) == 1 else f"model[{quoted(name)}]"
        yield f"outputs = {called}("
        yield "    **{"
        for spec in specs:
            yield f"        {quoted(spec.name)}: {_example(spec)},"
        yield from ("    }", ")")
    yield "print({name: array.shape for name, array in outputs.items()})"


def _example(spec: TensorSpec) -> str:
    """An array that the input takes, in the words of numpy."""
    sizes = [_size(dim, axis) for axis, dim in enumerate(spec.shape)]
    shape = f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"
    made = "ones" if spec.dtype.kind in "iub" else "zeros"
    return f'np.{made}({shape}, "{spec.dtype.name}")'


def _size(dim: object, axis: int) -> int:
    """One sample; what else is open gets a size, and a sum the sum of those."""
    if isinstance(dim, int):
        return dim
    if not isinstance(dim, str):
        return _OPEN if axis else 1
    size = parse_size(dim)
    sizes = {name: 1 if "batch" in name or (axis == 0 and len(size.names) == 1) else _OPEN
             for name in size.names}  # fmt: skip
    return size.evaluate(sizes)


def _inputs(report: Report, name: str) -> list[TensorSpec]:
    """What a graph takes, as its capture says."""
    wanted = ("capture", f"{name}: capture")
    stage = next((one for one in report.stages if one.name in wanted), None)
    told = () if stage is None else stage.parameters.get("inputs", ())
    return [parse_input(str(text)) for text in told] if isinstance(told, Sequence) else []


def _raw(beside: ModelFolder | None) -> str | None:
    """What a person would give the model; None where nothing reads that."""
    if beside is None:
        return None
    if beside.has_tokenizer:
        return '"a text of yours"'
    pre = beside.preprocessor
    if "feature_extractor_type" in pre:
        return _ASKED["audio"]
    return _ASKED["image"] if pre else None


def _of_optimum(report: Report, beside: ModelFolder | None) -> list[str]:
    if beside is None or beside.architecture is None:
        return []
    name = _OPTIMUM.get(task_by_name(beside) or "")
    if name is None:
        return []
    return [
        "Optimum loads the folder as it lies (`pip install optimum-onnx`):",
        "",
        *_code(
            f"from optimum.onnxruntime import {name}",
            "",
            f"model = {name}.from_pretrained({quoted(report.artifact or '')})",
        ),
    ]


def _threads(report: Report) -> int:
    graphs: list[GraphReport] = list(report.graphs.values())
    return graphs[0].latency[0].config.threads if graphs and graphs[0].latency else 1


def _again(report: Report) -> list[str]:
    lines = ["## Make it again", ""]
    if report.command is not None:
        lines += ["The whole run:", "", f"    {report.command}", ""]
    plan, command = report.files.get("plan"), report.command or ""
    if plan is None or (report.pipeline is not None and not command):
        return lines
    if report.pipeline is not None or _READING.intersection(
        word.partition("=")[0] for word in command.split()
    ):
        run = command  # it says how the model is read; what is said last of one option holds
    else:
        run = command_line(["compress", report.source.partition(",")[0].partition(" (")[0]])
        run += "" if report.target == DEFAULT_TARGET else f" --target {report.target}"
    words = "The same bytes from the same model, without a search:"
    return [*lines, words, "", f"    {run} {command_line(['--plan', plan])} -o again", ""]


def _verified(report: Report, folder: Path) -> list[str]:
    lines = [
        "## Verify it",
        "",
        "Files against `manifest.json`, report and plan against them, and what the model answers:",
        "",
        f"    {command_line(['compress', 'verify', report.artifact or str(folder)])}",
        "",
        "Without this package the model's own SHA-256:",
        "",
    ]
    for role, path in report.files.items():
        if role.rpartition("/")[2] in ("model", "weights"):
            name = Path(path).relative_to(report.artifact or "")
            lines.append(f"    {sha256(folder / name)}  {name.as_posix()}")
    return lines


def _code(*lines: str) -> list[str]:
    return ["```python", *lines, "```", ""]
