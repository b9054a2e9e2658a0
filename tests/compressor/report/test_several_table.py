"""The table of several runs says what the summary of each says."""

from io import StringIO

from rich.console import Console

from compressor.cli.several import Ended, table
from compressor.report.rows import latency_rows, size_rows
from compressor.results.report import Report


def shown(report: Report) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(table([Ended("a.onnx", "ort", report)], 1))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_speed_and_size_are_those_of_the_summary(int8_report: Report) -> None:
    told, graph = shown(int8_report), int8_report.graphs["model"]
    assert latency_rows(graph)[0].change in told
    assert size_rows(graph)[0].change in told


def test_an_unchanged_graph_is_neither_unknown_nor_smaller(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    same = graph.model_copy(
        update={
            "latency": (),
            "latency_reason": "the graph was not changed",
            "result_size": graph.baseline_size,
        }
    )
    told = shown(int8_report.model_copy(update={"graphs": {"model": same}}))
    assert "the graph was not changed" in told
    assert told.split()[-1] == "same"
