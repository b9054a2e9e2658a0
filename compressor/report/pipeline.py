"""A pipeline in words: what its loop makes of what ships, and what each graph is to it."""

from collections.abc import Iterator

from compressor.report.verdict import summary
from compressor.results import format as fmt
from compressor.results.report import PipelineResult


def pipeline_headline(pipeline: PipelineResult) -> str:
    """`sample.py:generate, one unit: 2.1x faster …`."""
    return f"{pipeline.name}, one unit: {summary(pipeline)}"


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


def graph_words(pipeline: PipelineResult) -> tuple[str, ...]:
    """A sentence a graph."""
    return tuple(
        f"{name}: {calls} a unit, {share} of the time as captured; {errors}."
        for name, calls, share, errors in graph_rows(pipeline)
    )
