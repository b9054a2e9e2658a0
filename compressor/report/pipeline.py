"""A pipeline in words: what its loop makes of what ships, and what each graph is to it."""

from collections.abc import Iterator

from compressor.report.rows import Row, all_rows
from compressor.report.verdict import speed_tone, summary
from compressor.results import format as fmt
from compressor.results.measurements import LatencyResult
from compressor.results.pipeline import LoopGraph, PipelineResult


def pipeline_headline(pipeline: PipelineResult) -> str:
    """`sample.py:generate, one unit: 2.1x faster …`."""
    count = pipeline.latency[0].config.batch if pipeline.latency else 1
    units = "one unit" if count == 1 else f"{count} units at a time"
    return f"{pipeline.name}, {units}: {summary(pipeline)}"


def calls_words(calls: float) -> str:
    """`10 calls`, or `3.5 calls` where runs differ."""
    return fmt.plural(int(calls), "call") if calls == int(calls) else f"{calls:.3g} calls"


def graph_rows(pipeline: PipelineResult) -> Iterator[tuple[str, str, str, str]]:
    """Graph, calls a unit, share of the time as captured, and signal to noise along a run."""
    for name, graph in pipeline.graphs.items():
        errors = "ships as it was"
        if graph.errors:
            first, last = graph.errors[0], graph.errors[-1]
            errors = f"{fmt.fixed(first, 1)} dB"
            if len(graph.errors) > 1:
                errors = f"{errors} in its first calls, {fmt.fixed(last, 1)} dB in its last"
        yield name, calls_words(graph.calls), fmt.percent(graph.share), errors


def loop_rows(pipeline: PipelineResult) -> tuple[Row, ...]:
    """Speed of a unit, then of the calls in it; quality, every output and size."""
    speed, *others = all_rows(pipeline)
    rates = (row for name, graph in pipeline.graphs.items() for row in _rate_rows(name, graph))
    return (speed, *rates, *others)


def _rate_rows(name: str, graph: LoopGraph) -> Iterator[Row]:
    """Time to the first result of a graph, and how many follow in a second."""
    made = "result" if graph.noun == "call" else graph.noun
    for latency, label in (
        (graph.first, f"time to first {made} of {name}"),
        (graph.each, f"{graph.noun}s a second of {name}, after that"),
    ):
        if latency is None:
            continue
        if not latency.is_known:
            yield Row("latency", label, reason=latency.reason or "not measured")
            continue
        times = latency.milliseconds
        before, after = (
            fmt.milliseconds(time) if latency is graph.first else fmt.significant(1e3 / time)
            for time in times
        )
        yield _rate_row(label, before, after, latency)


def _rate_row(label: str, before: str, after: str, latency: LatencyResult) -> Row:
    return Row(
        kind="latency",
        label=label,
        before=before,
        after=after,
        change=fmt.ratio(latency.speed),
        interval=fmt.ratio_interval(latency.ends),
        level=fmt.level(latency.ends),
        tone=speed_tone(latency),
    )


def graph_words(pipeline: PipelineResult) -> tuple[str, ...]:
    """A sentence a graph."""
    return tuple(
        f"{name}: {calls} a unit, {share} of the time as captured; {errors}."
        for name, calls, share, errors in graph_rows(pipeline)
    )
