"""Reading a report back, and showing it again."""

import json
from html import escape
from pathlib import Path

from pydantic import ValidationError

from compressor.errors import OutputError, UsageError
from compressor.plan.plan import first_problem
from compressor.report.html import render_html
from compressor.report.markdown import render_markdown
from compressor.results.deployment import Deployment
from compressor.results.report import SCHEMA_VERSION, Report
from compressor.system.output_folder import is_ours, put_back, replace_file, reseal
from compressor.system.sparing import spared, unfinished

JSON = "report.json"


def pages(report: Report, failures: list[str]) -> dict[str, str]:
    """File name → text of every form of a report that people read.

    Args:
        report: What they are made of.
        failures: Gets a notice for each page, and each chart in one, that could not be made.
    """
    return {
        "report.html": spared(
            lambda: render_html(report, failures),
            lambda reason: _unrendered("report.html", reason, failures, "<!doctype html>\n<p>{}\n"),
        ),
        "report.md": spared(
            lambda: render_markdown(report),
            lambda reason: _unrendered("report.md", reason, failures, "{}\n"),
        ),
    }


def _unrendered(name: str, reason: str, failures: list[str], page: str) -> str:
    """What stands in the place of a page: `report.json` beside it has all of it."""
    failures.append(unfinished(name, reason))
    said = f"This page could not be made: {reason}. report.json beside it holds the whole report."
    return page.format(escape(said))


def restated(report: Report, deployment: Deployment) -> Report:
    """The report with which target to deploy, written anew into its folder.

    Raises:
        OSError: The folder cannot be written.
    """
    report = report.model_copy(
        update={"deployment": deployment, "notices": (deployment.words, *report.notices)}
    )
    if report.artifact is None:
        return report
    folder = Path(report.artifact)
    texts = {JSON: report.model_dump_json(indent=1) + "\n", **pages(report, [])}
    for name, text in texts.items():
        replace_file(folder / name, text)
    reseal(folder, texts)
    return report


def load_report(path: str | Path) -> Report:
    """Read a `report.json`.

    Args:
        path: The file, or the folder that a run wrote.

    Raises:
        UsageError: There is none, it was written by a newer version, or it is no report of a run.
    """
    file = Path(path)
    if file.is_dir():
        file /= JSON
    try:
        text = file.read_text(encoding="utf-8")
        document = json.loads(text)
    except OSError as error:
        raise UsageError(
            f"report {file} cannot be read: {error.strerror}",
            hint="Pass the folder that `compress` wrote, which holds report.json.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{file} is not a report: it is not JSON",
            hint="It is damaged, or of something else: only a new run writes it again.",
        ) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise UsageError(
            f"{file} has report schema {version}, this version reads {SCHEMA_VERSION}",
            hint="Use the version of compressor that wrote it, or a newer one.",
        )
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(
            f"{file} is not the report of a run: {first_problem(error)}",
            hint="Pass the folder that `compress` wrote. The output of `compress compare --json` "
            "is no report of a run. Fields that are not known here are of a newer version.",
        ) from error


def render_report(directory: str | Path) -> Report:
    """Write `report.html` and `report.md` of an output folder anew from its `report.json`.

    Each is written aside and renamed, and the manifest seals them again. The manifest keeps its
    time, so that a build tool does not take the artifact for a new one. A folder that is missing
    because a run was killed while it swapped its result in is put back first.

    Args:
        directory: The folder that a run wrote.

    Returns:
        The report, as it was read.

    Raises:
        UsageError: It is a file, or see `load_report`.
        OutputError: The folder cannot be written, its manifest is damaged, or a page in it is not
            ours to replace.
    """
    folder = Path(directory)
    if folder.is_file():
        raise UsageError(
            f"expected an output folder, found the file {folder}", hint=f"Pass {folder.parent}."
        )
    try:
        put_back(folder)
    except OSError as error:
        raise OutputError(f"{folder} cannot be put back: {error.strerror}") from error
    report = load_report(folder)
    failures: list[str] = []
    written = pages(report, failures)
    if failures:
        raise OutputError(f"{folder}: its pages stay as they are: {failures[0]}")
    sealed = is_ours(folder)
    if not sealed:
        _refuse_foreign(folder, written)
    try:
        for name, text in written.items():
            replace_file(folder / name, text)
        if sealed:
            reseal(folder, written)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    return report


def rewrite_report(report: Report) -> None:
    """Write a report anew where it was written: more is known of it now.

    Raises:
        OutputError: The folder cannot be written.
    """
    folder = Path(report.artifact or "")
    texts = pages(report, [])
    texts[JSON] = report.model_dump_json(indent=1) + "\n"
    try:
        for name, text in texts.items():
            replace_file(folder / name, text)
        reseal(folder, texts)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error


def lying_in(report: Report, directory: str | Path) -> Report:
    """The report with its files where they lie now, which may not be where they were written."""
    folder = Path(directory)
    files = {role: str(folder / Path(path).name) for role, path in report.files.items()}
    return report.model_copy(update={"artifact": str(folder), "files": files})


def _refuse_foreign(folder: Path, written: dict[str, str]) -> None:
    """Without a manifest nobody can tell whose a page is: only one that stays as it is, is ours."""
    for name, text in written.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            raise OutputError(
                f"{path} exists, and the folder has no manifest that says it is ours",
                hint="Move it away, or copy report.json into an empty folder.",
            )
