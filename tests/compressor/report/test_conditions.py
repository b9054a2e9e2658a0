"""What is said of a machine that others used."""

from collections.abc import Sequence
from typing import Any

import pytest

from compressor.report.conditions import busy_words
from compressor.report.html import render_html
from compressor.report.markdown import render_markdown
from compressor.report.rows import latency_row, memory_row
from compressor.report.terminal import _missing
from compressor.report.verdict import headline, speed_words
from compressor.results.graph_report import GraphReport
from compressor.results.measurements import TOO_BUSY, Conditions, LatencyResult, MemoryResult
from compressor.results.records import Interval
from compressor.results.report import Report

BUSY = Conditions(busy=True, foreign=0.85, clean=0.04, stolen=0.05, throttled_seconds=1.5)


def measured(report: Report) -> tuple[LatencyResult, ...]:
    return report.graphs["model"].latency


def disturbed(one: LatencyResult, **more: Any) -> LatencyResult:
    return one.model_copy(update={"conditions": BUSY, **more})


def on_thread(one: LatencyResult) -> LatencyResult:
    assert one.baseline is not None
    timing = one.baseline.model_copy(update={"method": "cpu time"})
    return disturbed(one, method="cpu time", baseline=timing)


def refused(one: LatencyResult) -> LatencyResult:
    gone = dict.fromkeys(("ratio", "interval", "baseline", "result"))
    why = "the machine was too busy: others took 85 %"
    return disturbed(one, **gone, verdict="undecided", reason=why)


def with_latencies(report: Report, latencies: Sequence[LatencyResult]) -> GraphReport:
    graph = report.graphs["model"]
    return graph.model_copy(update={"latency": tuple(latencies)})


def test_a_quiet_machine_is_not_mentioned(int8_report: Report):
    assert busy_words(with_latencies(int8_report, measured(int8_report))) == ()


def test_a_busy_machine_is_told_with_what_the_figures_are_of(int8_report: Report):
    (words,) = busy_words(with_latencies(int8_report, [on_thread(measured(int8_report)[0])]))
    assert words.startswith("The machine was busy while speed was measured at batch 1, one thread")
    for part in ("took 85 %", "kept 5 % for itself", "held this process back for 1.5 s"):
        assert part in words
    assert "CPU time" in words
    assert latency_row(on_thread(measured(int8_report)[0])).label.endswith(
        "(CPU time, machine busy)"
    )


def test_what_could_not_be_timed_has_its_reason_in_every_form(int8_report: Report):
    latencies = [on_thread(measured(int8_report)[0]), refused(measured(int8_report)[1])]
    graph = with_latencies(int8_report, latencies)
    report = int8_report.model_copy(update={"graphs": {"model": graph}})
    assert Report.model_validate_json(report.model_dump_json()) == report
    row = latency_row(latencies[1])
    assert row.is_missing
    assert row.reason.startswith("the machine was too busy")
    for text in (render_markdown(report), render_html(report)):
        assert "too busy" in text
        assert "The machine was busy" in text
    first = with_latencies(int8_report, [refused(measured(int8_report)[0])])
    assert "speed not known" in headline(first)
    render_html(int8_report.model_copy(update={"graphs": {"model": first}}))


def test_an_undecided_race_is_no_difference_found(int8_report: Report):
    update = {"verdict": "undecided", "ratio": 1.48, "interval": Interval(low=0.93, high=6.86)}
    one = measured(int8_report)[0].model_copy(update=update)
    assert speed_words(one).startswith("speed undecided (1.48×, 95 % interval 0.93–6.86)")
    assert latency_row(one).tone == "unknown"


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [(100_000_000, 107_000_000, "1.07× more"), (107_000_000, 100_000_000, "1.07× less")],
)
def test_memory_is_told_as_what_it_takes_more_or_less(int8_report: Report, before, after, shown):
    memory = MemoryResult(baseline_bytes=before, result_bytes=after, ratio=before / after)
    graph = int8_report.graphs["model"].model_copy(update={"memory": memory})
    row = memory_row(graph)
    assert (row.change, row.note) == (shown, "one process each")


def test_that_the_machine_was_too_busy_is_told_once(int8_report: Report):
    """With the configurations that it was so for; each took its own share of the machine."""
    first, second = (refused(one) for one in measured(int8_report)[:2])
    second = second.model_copy(update={"reason": f"{TOO_BUSY}: others took 40 %"})
    graph = with_latencies(int8_report, [first, second])
    assert busy_words(graph) == ()
    ((reason, labels),) = _missing([latency_row(one) for one in graph.latency]).items()
    assert reason == first.reason and len(labels) == 2


def test_the_time_that_passed_is_told_where_it_is_much_more_than_was_computed(int8_report: Report):
    one = on_thread(measured(int8_report)[0])
    assert one.baseline is not None
    assert one.result is not None

    def passed(times: float) -> LatencyResult:
        before, after = (
            timing.model_copy(update={"wall_ms": times * timing.median_ms, "method": "cpu time"})
            for timing in (one.baseline, one.result)
            if timing is not None
        )
        return one.model_copy(update={"baseline": before, "result": after})

    told = latency_row(passed(40)).label
    assert "(CPU time, machine busy; " in told
    assert told.endswith(" passed)")
    assert latency_row(passed(1.1)).label.endswith("(CPU time, machine busy)")
    for times, said in ((40, True), (1.1, False)):
        (words,) = busy_words(with_latencies(int8_report, [passed(times)]))
        assert ("more time passed than was computed" in words) == said
