"""What a report shows of itself in Python."""

import sys

import pytest

from compressor.errors import UsageError
from compressor.report.shown import as_records
from compressor.results.report import Report


def test_a_printed_report_is_the_terminals_summary(int8_report: Report) -> None:
    assert str(int8_report).startswith("INT8 ships: 1.56× faster")
    assert str(int8_report) == int8_report.summary()
    assert max(map(len, int8_report.summary(width=60).splitlines())) <= 60
    assert len(repr(int8_report)) < 200
    assert "int8" in repr(int8_report)


def test_a_notebook_shows_a_table_without_markup_of_strangers(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    evil = graph.model_copy(update={"shipped_reason": "<script>alert(1)</script>"})
    page = int8_report.model_copy(update={"graphs": {"model": evil}})._repr_html_()
    assert "<script>" not in page
    assert "<td" in page
    assert "1.56× faster" in page


def test_figures_are_rows_of_numbers(int8_report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = as_records(int8_report)
    assert set(rows[0]) == {"graph", "kind", "figure", "before", "after", "change", "low", "high"}
    (accuracy,) = [row for row in rows if row["figure"] == "accuracy"]
    assert (accuracy["before"], accuracy["after"]) == (86.95, 86.80)
    assert [row["kind"] for row in rows].count("size") == 3
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="to_pandas needs pandas"):
        int8_report.to_pandas()
