"""`--track`: a finished run, logged to trackers of experiments.

A tracker that is not installed is refused before the run. One that cannot be reached costs no more
than a notice: the run is written, and the report says so.
"""

import logging
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import compressor.tracking
from compressor.errors import UsageError
from compressor.recipe.recipe import Recipe
from compressor.report.files import rewrite_report
from compressor.results.graph_report import Candidate, GraphReport
from compressor.results.report import Report
from compressor.system.third_party_output import relayed
from compressor.tracking.base import Tracker

logger = logging.getLogger(__name__)

Tracked = Tracker

_LARGEST = 2**30
"""Bytes up to which a file is logged; a larger one is named."""


def tracker_names() -> tuple[str, ...]:
    """The trackers there are."""
    found = (one.name for one in pkgutil.iter_modules(compressor.tracking.__path__))
    return tuple(sorted(name for name in found if name != "base"))


def tracked_by(names: Sequence[str]) -> list[Tracker]:
    """Trackers by their names.

    Raises:
        UsageError: There is none of that name, or its package is not installed.
    """
    found = []
    for name in dict.fromkeys(names):
        if name not in tracker_names():
            raise UsageError(
                f"--track {name}: there is no such tracker",
                hint=f"There is {', '.join(tracker_names())}.",
            )
        kind: type[Tracker] = import_module(f"compressor.tracking.{name}").TRACKER
        try:
            with relayed(logger):
                found.append(kind())
        except ImportError as error:
            raise UsageError(
                f"--track {name} needs the package {kind.package}, which cannot be imported: "
                f"{error}",
                hint=f"pip install 'compressor[{name}]'.",
            ) from error
    return found


def logged(trackers: Sequence[Tracker], report: Report, recipe: Recipe) -> Report:
    """Log a run; the report, with a notice for each tracker that failed.

    Args:
        trackers: Where to.
        report: The run, which is written.
        recipe: What was asked for.
    """
    said = []
    for tracker in trackers:
        try:
            with relayed(logger):
                where = _log(tracker, report, recipe)
        except Exception as error:  # what a server or its client raises
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            logger.debug("%s failed", tracker.name, exc_info=True)
            with suppress(Exception), relayed(logger):
                tracker.end()
            said.append(f"the run was not logged to {tracker.name}: {reason}")
        else:
            said.append(f"logged to {tracker.name}: {where}")
    if not said:
        return report
    report = report.model_copy(update={"notices": (*report.notices, *said)})
    rewrite_report(report)
    return report


def _log(tracker: Tracker, report: Report, recipe: Recipe) -> str:
    tracker.begin(Path(report.artifact or report.source).name)
    tracker.params(dict(_flat(recipe.model_dump(mode="json", exclude_defaults=True))) | {
        "source": report.source, "target": report.target,
    })  # fmt: skip
    for name, graph in report.graphs.items():
        prefix = "" if len(report.graphs) == 1 else f"{name}/"
        tracker.metrics({f"{prefix}{key}": value for key, value in figures(graph).items()})
        for step, one in enumerate(graph.candidates):
            values = {f"{prefix}candidate/{key}": v for key, v in of_candidate(one).items()}
            if values:
                tracker.metrics(values, step=step)
    for role, path in report.files.items():
        file = Path(path)
        if file.suffix == ".md":
            tracker.text(file.name, file.read_text(encoding="utf-8"))
        elif file.is_file() and file.stat().st_size <= _LARGEST:
            tracker.artifact(file)
        else:
            logger.debug("%s is not logged", role)
    return tracker.end()


def figures(graph: GraphReport) -> dict[str, float]:
    """What was measured of a graph, by name."""
    found: dict[str, float] = {
        "size_bytes": graph.result_size.file_bytes,
        "size_bytes_before": graph.baseline_size.file_bytes,
    }
    deciding = graph.latency[0] if graph.latency else None
    if deciding is not None and deciding.is_known:
        before, after = deciding.milliseconds
        found |= {"speedup": deciding.speed, "latency_ms": after, "latency_ms_before": before}
    for one in graph.quality:
        key = _plain(one.metric)
        if one.result is not None:
            found[key] = float(one.result)
        if one.baseline is not None:
            found[f"{key}_before"] = float(one.baseline)
    return found | _memory(graph)


def of_candidate(one: Candidate) -> dict[str, float]:
    """What is known of a candidate, by name."""
    found: dict[str, float] = {"shipped": float(one.shipped)}
    if one.latency is not None and one.latency.is_known:
        found["speedup"] = one.latency.speed
    if one.quality is not None and one.quality.result is not None:
        found[_plain(one.quality.metric)] = float(one.quality.result)
    return found


def _memory(graph: GraphReport) -> dict[str, float]:
    after = None if graph.memory is None else graph.memory.result_bytes
    return {} if after is None else {"peak_memory_bytes": float(after)}


def _plain(metric: str) -> str:
    """A name that every tracker takes."""
    return "".join(c if c.isalnum() or c in "_-./ " else "_" for c in metric)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value is not None:
            yield f"{prefix}{key}", str(value)
