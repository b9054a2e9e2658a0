"""A report in Python: as text, as a table in a notebook, as rows for a data frame.

`Report.summary`, `print(report)` and what a notebook shows come from here.
"""

import io
from collections.abc import Iterator
from html import escape
from typing import Any

from rich.console import Console

from compressor.errors import UsageError
from compressor.report.pipeline import loop_rows, pipeline_headline
from compressor.report.rows import Row, all_rows
from compressor.report.terminal import comparison, summary
from compressor.report.verdict import budget_words, headline
from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport
from compressor.results.report import Comparison, Report

_CELL = 'style="text-align:right;padding:0 1em 0 0"'


def as_text(report: Report | Comparison, width: int = 100) -> str:
    """The terminal's summary, without colours.

    Args:
        report: Of a run, or of two models.
        width: Characters of a line.
    """
    target = io.StringIO()
    console = Console(file=target, width=width, color_system=None, legacy_windows=False)
    console.print(summary(report) if isinstance(report, Report) else comparison(report))
    lines = (line.rstrip() for line in target.getvalue().splitlines())
    return "\n".join(lines)


def as_html(report: Report) -> str:
    """A table of before and after for each graph, under the verdict; no page of its own."""
    return "\n".join(_parts(report))


def _parts(report: Report) -> Iterator[str]:
    yield "<div>"
    if report.pipeline is not None:
        yield f"<p><b>{escape(pipeline_headline(report.pipeline))}.</b></p>"
        yield from _table(loop_rows(report.pipeline))
    for name, graph in report.graphs.items():
        title = f"{name}: " if len(report.graphs) > 1 else ""
        if graph.budget is not None:
            yield f"<p>{escape(budget_words(graph))}</p>"
        yield f"<p><b>{escape(title + headline(graph))}.</b><br>"
        yield f"{escape(fmt.sentence(graph.shipped_reason))}</p>"
        yield from _table(all_rows(graph))
    if report.artifact is not None:
        place = report.files.get("report", report.artifact)
        yield f'<p><a href="{escape(place)}">{escape(place)}</a></p>'
    yield "</div>"


def _table(rows: tuple[Row, ...]) -> Iterator[str]:
    yield "<table><thead><tr><th></th><th>before</th><th>after</th><th>change</th><th></th></tr>"
    yield "</thead><tbody>"
    for row in rows:
        if row.is_missing:
            continue
        cells = (row.before, row.after, row.change, row.interval if row.level else "")
        told = "".join(f"<td {_CELL}>{escape(text)}</td>" for text in cells)
        yield f'<tr><th style="text-align:left">{escape(row.label)}</th>{told}</tr>'
    yield "</tbody></table>"


def as_records(report: Report) -> list[dict[str, Any]]:
    """One row a figure, in numbers: graph, kind, figure, before, after, change, low, high."""
    return [row for name, graph in report.graphs.items() for row in _of_graph(name, graph)]


def _of_graph(name: str, graph: GraphReport) -> Iterator[dict[str, Any]]:
    for one in graph.latency:
        before, after = one.milliseconds if one.is_known else (None, None)
        low, high = _ends(one.interval)
        figure = f"batch {one.config.batch}, threads {one.config.threads}"
        parts = [one.config.phase or "", one.config.sizes]
        yield _row(
            name,
            "latency_ms",
            ", ".join([figure, *(part for part in parts if part)]),
            (before, after, one.ratio, low, high),
        )
    for quality in graph.quality:
        low, high = _ends(quality.interval)
        values = (quality.baseline, quality.result, quality.difference, low, high)
        yield _row(name, "quality", quality.metric, values)
    sizes = graph.baseline_size, graph.result_size
    for field in ("file_bytes", "parameters", "macs"):
        before, after = (getattr(size, field) for size in sizes)
        change = after / before if before and after is not None else None
        yield _row(name, "size", field, (before, after, change, None, None))
    if graph.memory is not None:
        memory = graph.memory
        values = (memory.baseline_bytes, memory.result_bytes, memory.ratio, None, None)
        yield _row(name, "memory", "peak_bytes", values)


def _row(graph: str, kind: str, figure: str, values: tuple[Any, ...]) -> dict[str, Any]:
    names = ("before", "after", "change", "low", "high")
    told = dict(zip(names, values, strict=True))
    return {"graph": graph, "kind": kind, "figure": figure, **told}


def _ends(interval: Any) -> tuple[float | None, float | None]:
    return (None, None) if interval is None else (interval.low, interval.high)


def as_frame(report: Report) -> Any:
    """`as_records` as a pandas DataFrame.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        import pandas  # noqa: PLC0415 - optional
    except ImportError as error:
        raise UsageError(
            f"to_pandas needs pandas, which cannot be imported: {error}",
            hint="pip install pandas, or use to_records, which is a list of dicts.",
        ) from error
    return pandas.DataFrame.from_records(as_records(report))
