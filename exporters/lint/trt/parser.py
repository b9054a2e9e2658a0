"""The real parser, in a process of its own: native code may crash or hang, this one may not.

TensorRT-RTX parses on machines without a GPU. A model that it takes can still be wrong: see
`encoding` and `axes`. After the first node that it cannot import it stops, so one error of its
stands for all that follow; only operators that it lacks are told all at once.
"""

import json
import platform
import sys
import time
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any, NamedTuple

import onnx_ir as ir

from compressor.system.processes import run_python
from compressor.system.scratch import scratch
from exporters.lint.base import Finding, ParserRun
from exporters.lint.trt.child import PACKAGE
from exporters.lint.trt.messages import CRASH, finding_of_error, finding_of_warning

CHILD = Path(__file__).with_name("child.py")


class Said(NamedTuple):
    """The parser's answer, as findings, and whether it ran."""

    run: ParserRun
    findings: tuple[Finding, ...] = ()


def parse(model: Path, nodes: Sequence[ir.Node], *, time_limit: float) -> Said:
    """Have a model parsed.

    Args:
        model: The ONNX file, with its external data beside it.
        nodes: The nodes of its main graph, in order.
        time_limit: Seconds after which the process is ended.
    """
    version = _version()
    if util.find_spec(PACKAGE) is None:
        return Said(ParserRun(package=PACKAGE, reason=_absence()))
    began = time.monotonic()
    with scratch() as folder:
        answer = Path(folder) / "answer.json"
        arguments = [str(CHILD), str(model.resolve()), str(answer)]
        failure = run_python(arguments, timeout=time_limit)
        said = json.loads(answer.read_text("utf-8")) if answer.is_file() else {}
    seconds = time.monotonic() - began
    run = ParserRun(package=PACKAGE, version=version, seconds=round(seconds, 3))
    if failure is not None or not said:
        reason = f"the parser of {PACKAGE} {failure or 'wrote no answer'} on {model}"
        return Said(run.model_copy(update={"reason": reason}), (CRASH.at(None, reason),))
    if "unavailable" in said:
        return Said(run.model_copy(update={"reason": said["unavailable"]}))
    return Said(run.model_copy(update={"accepted": said["accepted"]}), _findings(said, nodes))


def _findings(said: dict[str, Any], nodes: Sequence[ir.Node]) -> tuple[Finding, ...]:
    """Errors and warnings as findings; a rejection without an error shows the log's last lines."""
    found = [finding_of_error(error, nodes) for error in said["errors"]]
    if not said["accepted"] and not found:
        text = "; ".join(said["log"]) or "it gave no reason"
        found.append(finding_of_error({"code": "", "text": text, "index": -1}, nodes))
    found += [finding_of_warning(text) for text in said["warnings"]]
    return tuple(found)


def _version() -> str | None:
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return None


def _absence() -> str:
    if sys.platform == "linux" and platform.machine() == "x86_64":
        return f"{PACKAGE} is not installed: pip install 'compressor[trt-rtx]'"
    return f"{PACKAGE} is not installed; the extra trt-rtx is for Linux on x86-64"
