"""`compress verify DIR`: whether a finished folder is what was written, before it is deployed.

    compress verify model-ort

Files are held against the manifest, report and plan against the files; then each graph is loaded in
a process of its own, and asked what it answered to a sample when it was written.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import onnx

from compressor.commands.check import Checked, CheckResult, seals, what_failed
from compressor.errors import CompressorError, OutputError
from compressor.evaluation.reloaded import answered
from compressor.plan.plan import Plan
from compressor.report.files import load_report
from compressor.results.report import Report
from compressor.system.output_folder import manifest_of, within
from exporters.base import find_target, target_of
from exporters.base.reference import REFERENCE

PLAN = "plan.json"


def verify(directory: str | Path) -> CheckResult:
    """Hold a finished folder against itself, and run it.

    Args:
        directory: What `compress` wrote.

    Returns:
        What was looked at, in order; `met` where all of it agrees.

    Raises:
        UsageError: There is no report, or it cannot be read.
        OutputError: The folder has no manifest of ours, or it is damaged.
    """
    folder = Path(directory)
    found = [seals(folder)]
    manifest = manifest_of(folder) or {}
    report, models = load_report(folder), _models(folder, manifest)
    found += [_report(folder, manifest, report, models), _plan(folder, report)]
    found += [_runs(folder, name, path, report.target) for name, path in models.items()]
    return CheckResult(directory=str(directory), checks=tuple(found))


def require_whole(result: CheckResult) -> None:
    """Raise where something does not agree.

    Raises:
        OutputError: Names the first.
    """
    failed = what_failed(result)
    if failed is not None:
        raise OutputError(
            failed,
            hint="Do not deploy it. `compress MODEL --plan` with its plan.json makes it again.",
        )


def _models(folder: Path, manifest: dict[str, Any]) -> dict[str, Path]:
    """Graph → its file.

    Raises:
        OutputError: The manifest names something else than files of the folder.
    """
    named = manifest.get("graphs")
    found = {} if not isinstance(named, dict) else {k: within(folder, v) for k, v in named.items()}
    bad = next((name for name, path in found.items() if path is None), None)
    if not found or bad is not None:
        told = "names no graph" if bad is None else f"names no file of the folder as graph {bad!r}"
        raise OutputError(
            f"{folder}: its manifest.json {told}",
            hint="Compress the model again with --force, which replaces the whole folder.",
        )
    return {name: path for name, path in found.items() if path is not None}


def _report(
    folder: Path, manifest: dict[str, Any], report: Report, models: dict[str, Path]
) -> Checked:
    """Whether the report is of this folder: its target, its files, the sizes of its graphs."""
    wrong = _of_another(folder, manifest, report, models) or _of_another_size(report, models)
    return Checked(subject="report", met=wrong is None, said=wrong or "is of these files")


def _of_another(
    folder: Path, manifest: dict[str, Any], report: Report, models: dict[str, Path]
) -> str | None:
    if report.target != manifest.get("target"):
        return f"is of target {report.target!r}, the manifest of {manifest.get('target')!r}"
    if set(models) != set(report.graphs):
        return f"tells of graphs {_listed(report.graphs)}, the manifest of {_listed(models)}"
    for role, named in report.files.items():
        name = named.removeprefix(report.artifact or "").lstrip("/\\")
        path = within(folder, name)
        if path is None or not path.is_file():
            return f"tells of {role} in {name}, which is not there"
    return None


def _of_another_size(report: Report, models: dict[str, Path]) -> str | None:
    beside = {name: _external(path) for name, path in models.items()}
    for name, path in models.items():
        others = set().union(*(files for other, files in beside.items() if other != name))
        if beside[name] & others:  # stored once for several: what each takes is no file's size
            continue
        actual = sum(file.stat().st_size for file in (path, *beside[name]) if file.is_file())
        told = report.graphs[name].result_size.file_bytes
        if actual != told:
            return f"tells of {told} bytes of graph {name!r}, which has {actual}"
    return None


def _external(model: Path) -> set[Path]:
    """Files beside a model that its weights lie in."""
    own = target_of(model)
    if own is not None:
        return set(own.files_of(model)) - {model}
    if model.suffix != ".onnx":
        return set()
    try:
        proto = onnx.load(str(model), load_external_data=False)
    except Exception:  # damaged: the seal and the process that loads it say so
        return set()
    return {
        model.parent / entry.value
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location" and (model.parent / entry.value).is_file()
    }


def _plan(folder: Path, report: Report) -> Checked:
    """Whether the plan and its weights can be read, and decide what the report says."""
    try:
        plan = Plan.load(folder / PLAN)
    except CompressorError as error:
        return Checked(subject="plan", met=False, said=str(error))
    told = {name: graph.shipped for name, graph in report.graphs.items()}
    decided = {name: graph.ship for name, graph in plan.graphs.items()}
    if plan.target != report.target:
        said = f"is for target {plan.target!r}, the report of {report.target!r}"
        return Checked(subject="plan", met=False, said=said)
    if told != decided:
        name = next(one for one in {**told, **decided} if told.get(one) != decided.get(one))
        said = f"ships graph {name!r} as {decided.get(name)}, the report says {told.get(name)}"
        return Checked(subject="plan", met=False, said=said)
    return Checked(subject="plan", met=True, said="is what the report says")


def _runs(folder: Path, name: str, model: Path, target: str) -> Checked:
    """Whether a graph loads, and answers what it did."""
    subject = f"graph {name}"
    if not model.is_file():
        return Checked(subject=subject, met=False, said=f"{model.relative_to(folder)} is gone")
    missing = find_target(target).why_not_available()
    if missing is not None:
        return Checked(subject=subject, met=False, said=f"{target} cannot run it here: {missing}")
    reference = model.with_name(REFERENCE)
    found = answered(model, target, reference if reference.is_file() else None)
    return Checked(subject=subject, met=found.met, said=found.said)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
