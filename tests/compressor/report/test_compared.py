"""Finished runs side by side."""

import io

import pytest
from rich.console import Console

from compressor.errors import UsageError
from compressor.report.compared import compared, compared_table
from compressor.results.report import Report


def changed(report: Report, **updates) -> Report:
    graph = report.graphs["model"].model_copy(update=updates)
    return report.model_copy(update={"graphs": {"model": graph}})


def test_runs_that_no_other_beats_are_on_the_front(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    smaller = graph.result_size.model_copy(update={"file_bytes": 10})
    worse = (graph.quality[0].model_copy(update={"result": 70.0}), *graph.quality[1:])
    found = compared(
        {
            "out/a": int8_report,
            "out/b": changed(int8_report, result_size=smaller, quality=worse),
            "out/c": changed(int8_report, quality=worse),  # as large as a, and worse
        }
    )
    assert [one.front for one in found.runs] == [True, True, False]
    assert found.runs[1].drop == pytest.approx(16.95)
    target = io.StringIO()
    Console(file=target, width=100).print(compared_table(found))
    assert "accuracy 86.8" in target.getvalue()
    assert target.getvalue().count("✓") == 2


def test_other_metrics_are_not_compared_and_one_run_is_none(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    other = (graph.quality[0].model_copy(update={"metric": "cosine", "result": 0.9}),)
    found = compared({"a": int8_report, "b": changed(int8_report, quality=other)})
    assert [one.front for one in found.runs] == [True, True]
    with pytest.raises(UsageError, match="two runs or more"):
        compared({"a": int8_report})
