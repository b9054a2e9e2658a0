"""The report as a Markdown summary, for a pull request: about 40 lines at most.

Names come out of files that a stranger may have made: whatever they hold is escaped, so that it
is neither markup nor a link, and mentions nobody.
"""

import re
from collections.abc import Iterator, Sequence

from compressor.report.attended import headline as attention_headline
from compressor.report.changed import change_words
from compressor.report.conditions import busy_words, source_words
from compressor.report.exited import headline as exits_headline
from compressor.report.pipeline import graph_words, loop_rows, pipeline_headline
from compressor.report.pruned import goal_words, removal_words
from compressor.report.rows import Row, all_rows
from compressor.report.spoken import speaker
from compressor.report.verdict import budget_words, engine_words, headline, losses
from compressor.results import format as fmt
from compressor.results.environment import PACKAGES
from compressor.results.graph_report import GraphReport
from compressor.results.pipeline import PipelineResult
from compressor.results.report import Report

_MOST_NOTICES = 5
_MOST_CANDIDATES = 6
_LONGEST = 300
"""Characters of a text out of a model or a file."""

_MARKUP = re.compile(r"([\\`*_{}\[\]<>|~#!&$])")
_STARTS = re.compile(r"^(\d*)([-+=]|(?<=\d)[.)](?=\s|$))")
"""What begins a list or underlines a heading."""
_LINKS = re.compile(r"(?i)(:(?=//)|(?<=\bwww)\.)")
_harmless = speaker("utf-8")
_WORD_JOINER = "\N{WORD JOINER}"


def render_markdown(report: Report) -> str:
    """The whole summary.

    Verdict, figures with their intervals, what was decided, notices, and the command that repeats
    the run. The same report gives the same text, also when read back from `report.json`.
    """
    lines: list[str] = []
    if report.pipeline is not None:
        lines += _pipeline(report.pipeline)
    for name, graph in report.graphs.items():
        lines += _graph(graph, name if len(report.graphs) > 1 else None)
    lines += _listed(
        "Notices", _most([fmt.sentence(text) for text in report.notices], _MOST_NOTICES, "notice")
    )
    lines += _reproduce(report)
    return "\n".join(lines) + "\n"


def _pipeline(pipeline: PipelineResult) -> Iterator[str]:
    yield from (f"## {escaped(pipeline_headline(pipeline))}.", "")
    if pipeline.budget is not None:
        yield from (f"**{escaped(budget_words(pipeline))}**", "")
    if pipeline.goal is not None:
        yield from (f"**{escaped(goal_words(pipeline))}**", "")
    yield from _table(loop_rows(pipeline))
    words = busy_words(pipeline)
    if words:
        yield from (*(escaped(text) for text in words), "")
    yield from _listed("Graphs", graph_words(pipeline))


def _graph(graph: GraphReport, name: str | None) -> Iterator[str]:
    title = f"{headline(graph)}." if name is None else f"{name}: {headline(graph)}."
    yield from (f"## {escaped(title)}", "")
    if graph.budget is not None:
        yield from (f"**{escaped(budget_words(graph))}**", "")
    if graph.goal is not None:
        yield from (f"**{escaped(goal_words(graph))}**", "")
    yield from (escaped(fmt.sentence(graph.shipped_reason)), "")
    if graph.engine is not None:
        yield from (escaped(engine_words(graph)), "")
    told = losses(graph)
    if told:
        yield from (*(f"- **{escaped(loss)}**" for loss in told), "")
    yield from _table(all_rows(graph))
    words = busy_words(graph)
    if words:
        yield from (*(escaped(text) for text in words), "")
    told_of_source = source_words(graph)
    if told_of_source is not None:
        yield from (escaped(told_of_source), "")
    yield from _listed("Decided", tuple(_decided(graph)))


def _table(rows: Sequence[Row]) -> Iterator[str]:
    """Before, after, change and interval; the reason where something was not measured."""
    level = next((row.level for row in rows if row.level), "interval")
    yield f"| | before | after | change | {escaped(level)} |"
    yield "|---|--:|--:|--:|---|"
    for row in rows:
        last = row.interval if row.level else row.reason
        cells = (row.label, row.before, row.after, row.change, last)
        yield "| " + " | ".join(escaped(cell) for cell in cells) + " |"
    yield ""


def _decided(graph: GraphReport) -> Iterator[str]:
    """What runs as integer, what became of the candidates, and how many decisions changed."""
    removal = removal_words(graph)
    if removal:
        yield removal
    if graph.attention is not None:
        yield attention_headline(graph.attention).removesuffix(".")
    if graph.exits is not None:
        yield exits_headline(graph.exits).removesuffix(".")
    integer = sum(placed.integer for placed in graph.placement)
    total = integer + sum(placed.floating for placed in graph.placement)
    if total:
        nodes = f"{integer} of {fmt.plural(total, 'node')}"
        if graph.engine is None:
            yield f"{nodes} of the executed graph run as integer"
        else:
            yield f"{nodes} of the graph that the engine is built from read integers"
    candidates = [
        f"{candidate.name}: {'shipped' if candidate.shipped else 'not shipped'}; {candidate.reason}"
        for candidate in graph.candidates
    ]
    yield from _most(candidates, _MOST_CANDIDATES, "candidate")
    words = change_words(graph)
    if words:
        yield words


def _most(texts: Sequence[str], most: int, noun: str) -> tuple[str, ...]:
    rest = len(texts) - most
    if rest <= 0:
        return tuple(texts)
    return (*texts[:most], f"{fmt.plural(rest, f'more {noun}')} in the report")


def _listed(title: str, texts: Sequence[str]) -> Iterator[str]:
    if texts:
        yield from (f"**{title}**", "")
        yield from (f"- {escaped(text)}" for text in texts)
        yield ""


def _reproduce(report: Report) -> Iterator[str]:
    if report.command is None:
        yield "Called from Python; the recipe is in `manifest.json`."
    else:
        # A fence longer than any run of backticks within: the command cannot close it.
        runs = re.findall(r"`+", report.command)
        fence = "`" * max(3, *(len(run) + 1 for run in runs), 3)
        yield from ("**Reproduce**", "", f"{fence}sh", report.command, fence)
    versions = report.environment.packages
    executing = [name for name in versions if name not in PACKAGES] or ["onnxruntime"]
    told = [f"{name} {versions[name]}" for name in ("compressor", *executing) if name in versions]
    where = (report.environment.processor, *told, fmt.moment(report.created))
    yield from ("", escaped(f"{report.source} → {report.target}; {', '.join(where)}"))


def escaped(text: str) -> str:
    """Plain text that Markdown shows as it is, on one line and of bounded length."""
    line = _harmless(" ".join(text.split()))
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]}…"
    line = _LINKS.sub(r"\\\1", _MARKUP.sub(r"\\\1", line))
    line = _STARTS.sub(r"\1\\\2", line)
    # A backslash does not keep a mention from being one.
    return line.replace("@", f"@{_WORD_JOINER}")
