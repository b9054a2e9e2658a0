"""Reports for the terminal: renderables for rich, made for 80 columns.

They never touch a console themselves: `console.print(summary(report))`.
"""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.report.attended import headline as headline_of_attention
from compressor.report.conditions import busy_words
from compressor.report.exited import headline as headline_of_exits
from compressor.report.floats import float_words
from compressor.report.layers import worst_layer
from compressor.report.pipeline import graph_words, loop_rows, pipeline_headline
from compressor.report.pruned import goal_tone, goal_words, removal_words
from compressor.report.rows import Row, all_rows
from compressor.report.spoken import Speak, Spoken
from compressor.report.terminal_profile import profile_table
from compressor.report.terminal_progress import RichProgress
from compressor.report.trained import headline as headline_of_training
from compressor.report.usage import use_line
from compressor.report.verdict import (
    Tone,
    budget_tone,
    budget_words,
    engine_words,
    headline,
    losses,
    reused_words,
)
from compressor.report.verdict import summary as sentence_of
from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport
from compressor.results.measured import Measured
from compressor.results.measurements import TOO_BUSY
from compressor.results.pipeline import PipelineResult
from compressor.results.report import Comparison, Report

__all__ = ["RichProgress", "comparison", "profile_table", "summary"]

_STYLES: dict[Tone, str] = {"better": "green", "worse": "bold red", "even": "", "unknown": ""}
_SPEED_WORDS: dict[Tone, str] = {
    "better": "faster",
    "worse": "slower",
    "even": "insignificant",
    "unknown": "undecided",
}
_MOST_NOTICES = 5


def summary(report: Report) -> RenderableType:
    """The whole run in about twenty lines: verdict, figures, losses, notices, where it lies."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        if report.pipeline is not None:
            yield from _pipeline(report.pipeline, speak)
        for name, graph in report.graphs.items():
            yield from _graph(graph, speak, name if len(report.graphs) > 1 else None)
        yield from _notices(report.notices, speak)
        yield _places(report, speak)

    return Spoken(build)


def comparison(compared: Comparison) -> RenderableType:
    """Two models side by side: the verdict on the second, then the figures of both."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        names = f"{compared.baseline} → {compared.result}"
        yield Text(speak(names), style="dim", overflow="fold")
        yield Text(speak(fmt.sentence(sentence_of(compared))), style="bold")
        yield from _figures(compared, all_rows(compared), speak, ("first", "second"))
        yield from _notices(compared.notices, speak)

    return Spoken(build)


def _pipeline(pipeline: PipelineResult, speak: Speak) -> Iterable[RenderableType]:
    """What the loop makes of all graphs together, before each by itself."""
    if pipeline.budget is not None:
        yield Text(speak(budget_words(pipeline)), style=f"bold {_STYLES[budget_tone(pipeline)]}")
    if pipeline.goal is not None:
        yield Text(speak(goal_words(pipeline)), style=f"bold {_STYLES[goal_tone(pipeline)]}")
    yield Text(speak(f"{pipeline_headline(pipeline)}."), style="bold")
    yield from _figures(pipeline, loop_rows(pipeline), speak, ("before", "after"))
    for words in graph_words(pipeline):
        yield Text(speak(f"- {words}"), style="dim")


def _graph(graph: GraphReport, speak: Speak, name: str | None) -> Iterable[RenderableType]:
    if name is not None:
        yield Text(speak(name), style="bold underline")
    if graph.budget is not None:
        yield Text(speak(budget_words(graph)), style=f"bold {_STYLES[budget_tone(graph)]}")
    if graph.goal is not None:
        yield Text(speak(goal_words(graph)), style=f"bold {_STYLES[goal_tone(graph)]}")
    yield Text(speak(f"{headline(graph)}."), style="bold")
    yield Text(speak(fmt.sentence(graph.shipped_reason)))
    if graph.engine is not None:
        yield Text(speak(engine_words(graph)), style="yellow")
    if graph.pruning is not None:
        yield Text(speak(removal_words(graph)))
    if graph.training is not None:
        yield Text(speak(headline_of_training(graph.training)))
    if graph.integer_training is not None:
        yield Text(speak(headline_of_training(graph.integer_training)))
    if graph.attention is not None:
        yield Text(speak(headline_of_attention(graph.attention)))
    if graph.exits is not None:
        yield Text(speak(headline_of_exits(graph.exits)))
    yield from _figures(graph, all_rows(graph), speak, ("before", "after"))
    floats = float_words(graph)
    if floats:
        yield Text(speak(f"- {floats}"), style="dim")
    worst = worst_layer(graph)
    if worst:
        yield Text(speak(f"- {worst}"), style="dim")


def _figures(
    measured: Measured, rows: Sequence[Row], speak: Speak, names: tuple[str, str]
) -> Iterable[RenderableType]:
    """A table with a line for each figure; below it what is missing and what is worse."""
    told = [row for row in rows if not row.is_missing]
    level = next((row.level for row in told if row.level), "interval")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", overflow="fold")
    for heading in (*names, "change"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(speak(level), no_wrap=True)
    for row in told:
        table.add_row(*(Text(speak(text), style=style) for text, style in _cells(row)))
    yield table
    for reason, labels in _missing(rows).items():
        yield Text(speak(f"- {'; '.join(labels)}: {reason}"), style="dim")
    for words in busy_words(measured):
        yield Text(speak(f"* {words}"), style="yellow")
    for loss in losses(measured):
        yield Text(speak(f"! {loss}"), style="bold red")


def _missing(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Why figures are missing, each reason once: a machine that is busy is so for all of them."""
    found: dict[str, list[str]] = {}
    known: dict[str, str] = {}
    for row in rows:
        if row.reason:
            kind = TOO_BUSY if row.reason.startswith(TOO_BUSY) else row.reason
            found.setdefault(known.setdefault(kind, row.reason), []).append(row.label)
    return found


def _cells(row: Row) -> Sequence[tuple[str, str]]:
    """The texts of a row with their styles; without colour a word tells what colour would."""
    style = _STYLES[row.tone] if row.kind in ("latency", "quality") else ""
    words = _SPEED_WORDS[row.tone] if row.kind == "latency" else ""
    change = f"{row.change} {words}".rstrip()
    interval = row.interval if row.level else ""
    return ((row.label, ""), (row.before, ""), (row.after, ""), (change, style), (interval, ""))


def _notices(notices: Sequence[str], speak: Speak) -> Iterable[Text]:
    for notice in notices[:_MOST_NOTICES]:
        yield Text(speak(f"* {fmt.sentence(notice)}"), style="yellow")
    if len(notices) > _MOST_NOTICES:
        rest = fmt.plural(len(notices) - _MOST_NOTICES, "more notice")
        yield Text(f"* {rest} in the report", style="yellow")


def _places(report: Report, speak: Speak) -> Table:
    """Where the artifact and the report are, never shortened: they are there to be copied."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for heading, role in (("artifact", "model"), ("report", "report")):
        if role in report.files:
            table.add_row(heading, Text(speak(report.files[role]), style="bold"))
    if report.reused:
        table.add_row("cache", Text(speak(reused_words(report))))
    use = use_line(report)
    if use is not None and "usage" in report.files:
        table.add_row("use", Text(speak(use)))
    return table
