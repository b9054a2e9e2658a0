"""Builds an engine in a process of its own, by the script that ships in the output folder.

Native code may crash or hang there; here that is an error that names the graph, and the model and
the script stay. What takes the user's machine away while it is built is the script, unchanged, so
that whoever runs it later gets the same engine.
"""

import json
import pprint
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compressor.system.processes import Cause, Failure, run_python
from compressor.system.progress import Progress
from compressor.system.scratch import scratch
from exporters.lint.base import Finding
from exporters.lint.trt.messages import finding_of_error, finding_of_warning
from exporters.trt.backends import ChosenBackend
from exporters.trt.build_engine import ENGINES, PARTS
from exporters.trt.notation import Profile
from exporters.trt.options import TrtOptions

SCRIPT = "build_engine.py"
_PLACE = "SETTINGS: dict[str, Any] = {}\n"


@dataclass(frozen=True)
class Built:
    """The outcome of a build.

    Attributes:
        engine: The engine's file; None where there is none.
        failure: Why there is none.
        findings: What the parser said, as the linter would.
        seconds: What parsing and building took in the process.
        integer: Operator → layers of the parsed network that read integers.
        floating: Operator → such layers that read floats.
    """

    engine: Path | None = None
    failure: str | None = None
    findings: tuple[Finding, ...] = ()
    seconds: float | None = None
    integer: Mapping[str, int] = field(default_factory=dict)
    floating: Mapping[str, int] = field(default_factory=dict)


def settings(
    options: TrtOptions, profiles: Sequence[Profile], *, sparse: int = 0
) -> dict[str, Any]:
    """What the build script needs to know.

    Args:
        options: What the user chose.
        profiles: Shapes.
        sparse: Layers with 2:4 sparse weights.
    """
    shapes = [
        {name: [list(shape) for shape in span] for name, span in profile.items()}
        for profile in profiles
    ]
    return {**options.settings(sparse=bool(sparse)), "profiles": shapes}


def write_script(directory: Path, settings: Mapping[str, Any]) -> Path:
    """Write `build_engine.py` with these settings beside the model."""
    source = Path(__file__).with_name(SCRIPT).read_text(encoding="utf-8")
    if source.count(_PLACE) != 1:
        raise AssertionError("the script has no place for its settings")
    shown = pprint.pformat(dict(settings), width=96, sort_dicts=False)
    path = directory / SCRIPT
    path.write_text(source.replace(_PLACE, f"SETTINGS: dict[str, Any] = {shown}\n"), "utf-8")
    return path


def build_engine(
    directory: Path,
    chosen: ChosenBackend,
    nodes: Sequence[ir.Node],
    *,
    cache: Path | None,
    time_limit: float,
    progress: Progress,
) -> Built:
    """Run the script of an output folder.

    Args:
        directory: The folder that holds `model.onnx` and the script.
        chosen: The backend.
        nodes: The graph's nodes, in order, for findings at nodes without a name.
        cache: A timing cache to read and extend; default: one in the folder.
        time_limit: Seconds after which the process is ended.
        progress: Where the build is shown.

    Raises:
        KeyboardInterrupt: The user ended it; so did the process.
    """
    # Beside its place, as a rename within one file system is atomic: an engine that was done just
    # before the user ended the build goes with this folder.
    with (
        scratch() as folder,
        tempfile.TemporaryDirectory(prefix=".engine-", dir=directory) as beside,
    ):
        answer, parts = Path(folder) / "answer.json", Path(folder) / "progress"
        made = Path(beside) / ENGINES[chosen.name or ""]
        arguments = [str(directory / SCRIPT), "--backend", chosen.name or ""]
        arguments += ["--answer", str(answer), "--progress", str(parts), "--output", str(made)]
        if cache is not None:
            arguments += ["--cache", str(cache.resolve())]
        with progress.stage("build the engine", total=PARTS) as advance, _following(parts) as told:
            failure = run_python(arguments, timeout=time_limit, poll=lambda: advance(told()))
        said: dict[str, Any] = {}
        if answer.is_file():
            said = json.loads(answer.read_text(encoding="utf-8"))
        engine = made.replace(directory / made.name) if failure is None else None
    return _built(said, engine, failure, directory / "model.onnx", nodes, chosen)


def _built(
    said: Mapping[str, Any],
    engine: Path | None,
    failure: Failure | None,
    model: Path,
    nodes: Sequence[ir.Node],
    chosen: ChosenBackend,
) -> Built:
    findings = [finding_of_error(error, nodes) for error in said.get("errors", ())]
    findings += [finding_of_warning(text) for text in said.get("warnings", ())]
    layers = said.get("layers", {})
    return Built(
        engine=engine,
        failure=None if failure is None else _sentence(said, failure, findings, model, chosen),
        findings=tuple(findings),
        seconds=said.get("seconds"),
        integer=layers.get("integer", {}),
        floating=layers.get("float", {}),
    )


def _sentence(
    said: Mapping[str, Any],
    failure: Failure,
    findings: Sequence[Finding],
    model: Path,
    chosen: ChosenBackend,
) -> str:
    """Why there is no engine, and what to do where something can be done about it."""
    own = None if said.get("cancelled") else said.get("failure")
    told = own or f"the process of {chosen.name} {failure} on {model.name}"
    if failure.cause is Cause.OUT_OF_TIME:
        return f"{told}; allow it more: `time_limit` in section [trt] of the recipe"
    first = next((finding for finding in findings if finding.severity == "error"), None)
    if first is not None:
        where = f" at {first.node!r}" if first.node else ""
        return f"{first.rule}{where}: {first.reason}. {first.fix}"
    if said.get("out_of_workspace"):
        return f"{told}; give it more: `workspace` in section [trt] of the recipe"
    return told


@contextmanager
def _following(path: Path) -> Iterator[Any]:
    """How many parts were done since the last call, by the file that the process extends."""
    known = [0]

    def news() -> int:
        lines = path.read_text(encoding="utf-8").split() if path.is_file() else []
        done = int(lines[-1]) if lines and lines[-1].isdecimal() else known[0]
        more, known[0] = max(0, done - known[0]), max(done, known[0])
        return more

    yield news
