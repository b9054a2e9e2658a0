import io

import pytest
from rich.console import Console

from compressor.report.html import render_html
from compressor.report.rows import all_rows, quality_row
from compressor.report.terminal import summary as summary_renderable
from compressor.report.verdict import (
    budget_tone,
    budget_words,
    headline,
    losses,
    quality_name,
    quality_tone,
    summary,
)
from compressor.results import format as fmt
from compressor.results.engine import EngineBuild
from compressor.results.graph_report import BudgetResult, GraphReport
from compressor.results.measurements import QualityResult, Size
from compressor.results.records import Interval
from compressor.results.report import Report


def graph_of(report: Report) -> GraphReport:
    return report.graphs["model"]


def slower_first(graph: GraphReport) -> GraphReport:
    """The graph with its slow configuration deciding."""
    return graph.model_copy(update={"latency": graph.latency[::-1]})


def scored(low: float, high: float, *, higher_is_better: bool, reference: str) -> QualityResult:
    return QualityResult.model_validate(
        {
            "metric": "m",
            "unit": "%",
            "higher_is_better": higher_is_better,
            "reference": reference,
            "baseline": 50,
            "result": 50 + (low + high) / 2,
            "difference": (low + high) / 2,
            "interval": Interval(low=low, high=high),
            "samples": 10,
            "data": "d",
        }
    )


def test_headline_of_int8(int8_report: Report) -> None:
    assert headline(graph_of(int8_report)) == (
        "INT8 ships: 1.56× faster (95 % interval 1.52–1.60) at batch 1, one thread; accuracy "
        "86.95 % → 86.80 % (−0.15 points, 95 % interval −0.50…+0.20); 3.81× smaller"
    )


def test_headline_of_float_claims_no_speed(float_report: Report) -> None:
    assert headline(graph_of(float_report)) == (
        "Float ships: no significant difference in speed (1.00×, 95 % interval 0.96–1.04) at "
        "batch 1, one thread"
    )


def test_headline_of_a_slower_result_does_not_say_faster(int8_report: Report) -> None:
    text = headline(slower_first(graph_of(int8_report)))
    assert text.startswith("INT8 ships: slower, 0.89× the speed (95 % interval 0.85–0.93) at")
    assert "faster" not in text


def test_headline_of_a_decoder_tells_the_other_phase_where_all_else_is_alike(
    int8_report: Report,
) -> None:
    graph = graph_of(int8_report)
    first, *others = graph.latency
    one, prompt = (
        first.model_copy(update={"config": first.config.model_copy(update=told)})
        for told in (
            {"phase": "decode", "sizes": "sequence 1, past 64"},
            {"phase": "prefill", "sizes": "sequence 64, past 0"},
        )
    )
    text = headline(graph.model_copy(update={"latency": (one, prompt, *others)}))
    assert "at batch 1, decode (sequence 1, past 64), one thread; prefill (seq" in text
    assert "past 0) 1.56× (1.52–1.60);" in text


def test_headline_without_any_measurement() -> None:
    size = Size(file_bytes=1000, parameters=10, macs=None)
    graph = GraphReport(shipped="float", shipped_reason="r", baseline_size=size, result_size=size)
    assert headline(graph) == "Float ships"
    assert summary(graph) == ""


def test_agreement_is_told_without_the_originals_own_score(agreement_report: Report) -> None:
    assert (
        "agreement with the original 99.20 % (−0.80 points, 95 % interval −1.90…−0.30)"
        in headline(graph_of(agreement_report))
    )


def test_only_significant_losses_are_losses(int8_report: Report) -> None:
    assert losses(graph_of(int8_report)) == (
        "Slower at batch 32, all threads: 0.89× the speed (95 % interval 0.85–0.93).",
    )


def test_a_worse_metric_is_a_loss(int8_report: Report) -> None:
    worse = scored(-2.0, -0.5, higher_is_better=True, reference="labels")
    graph = graph_of(int8_report).model_copy(update={"latency": (), "quality": (worse,)})
    assert losses(graph) == ("M is significantly worse: −1.25 points (95 % interval −2.00…−0.50).",)


@pytest.mark.parametrize(("result", "told"), [(0.949, True), (0.9951, False)])
def test_outputs_far_from_the_original_are_told(
    int8_report: Report, result: float, told: bool
) -> None:
    cosine = scored(-0.1, -0.05, higher_is_better=True, reference="original").model_copy(
        update={"metric": "cosine", "baseline": 1.0, "result": result}
    )
    graph = graph_of(int8_report).model_copy(update={"latency": (), "quality": (cosine,)})
    assert any("--quantize none" in loss for loss in losses(graph)) == told


@pytest.mark.parametrize(
    ("low", "high", "higher_is_better", "reference", "tone"),
    [
        (-2, -1, True, "labels", "worse"),
        (-2, -1, False, "labels", "better"),
        (1, 2, True, "labels", "better"),
        (1, 2, False, "labels", "worse"),
        (-1, 1, True, "labels", "even"),
        (0, 1, True, "labels", "even"),
        (-2, -1, True, "original", "unknown"),
    ],
)
def test_quality_tone(
    low: float, high: float, higher_is_better: bool, reference: str, tone: str
) -> None:
    scores = scored(low, high, higher_is_better=higher_is_better, reference=reference)
    assert quality_tone(scores) == tone


@pytest.mark.parametrize(("unit", "tone"), [("nats", "even"), ("%", "worse")])
def test_a_certain_difference_that_is_no_size_at_all_is_no_loss(unit: str, tone: str) -> None:
    """A thousandth of the value; of shares, of which the rest may be as small, every one."""
    elbo = scored(-0.02, -0.01, higher_is_better=True, reference="labels").model_copy(
        update={"metric": "elbo", "unit": unit}
    )
    assert quality_tone(elbo) == tone
    assert quality_name(elbo) == "ELBO"


def test_rows_name_the_reason_of_everything_missing(float_report: Report) -> None:
    missing = {row.label: row.reason for row in all_rows(graph_of(float_report)) if row.is_missing}
    assert missing == {
        "quality": "no data to measure on; --eval adds it",
        "MACs a sample": "the size of dimension 'tokens' is unknown",
        "peak memory": "the child process was killed",
    }


def test_rows_of_a_graph_with_nothing_but_sizes() -> None:
    size = Size(file_bytes=1000, parameters=10, macs=5)
    graph = GraphReport(
        shipped="float",
        shipped_reason="r",
        latency_reason="the graph was not changed",
        memory_reason="not asked for",
        baseline_size=size,
        result_size=size,
    )
    reasons = {row.kind: row.reason for row in all_rows(graph) if row.is_missing}
    assert reasons == {
        "latency": "the graph was not changed",
        "quality": "not measured",
        "memory": "not asked for",
    }
    changes = {row.label: (row.change, row.tone) for row in all_rows(graph) if row.kind == "size"}
    assert changes == dict.fromkeys(("file size", "parameters", "MACs a sample"), ("same", "even"))


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (269_722, 269_034, "<1 % fewer"),
        (269_034, 269_722, "<1 % more"),
        (269_700, 269_701, "same"),
        (272_474, 136_237, "2.00× fewer"),
    ],
)
def test_two_texts_that_differ_are_not_called_the_same(
    int8_report: Report, before: int, after: int, change: str
) -> None:
    sizes = {
        name: Size(file_bytes=1000, parameters=count, macs=None)
        for name, count in (("baseline_size", before), ("result_size", after))
    }
    rows = all_rows(graph_of(int8_report).model_copy(update=sizes))
    found = next(row for row in rows if row.label == "parameters")
    assert found.change == change
    assert (found.before == found.after) == (change == "same")


def test_a_larger_file_is_told_as_larger(int8_report: Report) -> None:
    graph = graph_of(int8_report)
    grown = graph.model_copy(
        update={"baseline_size": graph.result_size, "result_size": graph.baseline_size}
    )
    row = next(row for row in all_rows(grown) if row.label == "file size")
    assert (row.before, row.after, row.change, row.tone) == (
        "0.29 MB",
        "1.09 MB",
        "3.81× larger",
        "worse",
    )


def test_sizes_beside_an_engine_say_what_they_are_of(int8_report: Report) -> None:
    engine = EngineBuild(status="built, not run", precision="int8", file_bytes=1_500_000)
    graph = graph_of(int8_report).model_copy(update={"engine": engine})
    rows = {row.label: row for row in all_rows(graph)}
    assert "file size" not in rows
    assert rows["ONNX file size"].change == "3.81× smaller"
    assert (rows["engine size"].before, rows["engine size"].after) == (fmt.NOTHING, "1.50 MB")
    assert summary(graph).endswith("3.81× smaller as ONNX")
    script = graph.model_copy(update={"engine": engine.model_copy(update={"file_bytes": None})})
    assert "engine size" not in {row.label for row in all_rows(script)}


def test_a_row_leads_with_what_tells_most(int8_report: Report, agreement_report: Report) -> None:
    accuracy, noise = (quality_row(quality) for quality in graph_of(int8_report).quality)
    agreement = quality_row(graph_of(agreement_report).quality[0])
    assert (accuracy.lead, noise.lead, agreement.lead) == ("change", "result", "result")


@pytest.mark.parametrize(
    ("met", "interrupted", "words", "tone"),
    [
        (True, False, "Budget of 1% in accuracy: met: because.", "better"),
        (False, False, "Budget of 1% in accuracy: NOT met: because.", "worse"),
        (False, True, "Budget of 1% in accuracy: not confirmed: because.", "worse"),
    ],
)
def test_budget_is_told_first(
    int8_report: Report, met: bool, interrupted: bool, words: str, tone: str
) -> None:
    graph = int8_report.graphs["model"]
    assert budget_words(graph) == ""
    assert budget_tone(graph) == "unknown"
    budget = BudgetResult(
        asked="1%", metric="accuracy", unit="%", accept="bound", met=met, n=1000,
        method="score bound", reason="because", interrupted=interrupted,
    )  # fmt: skip
    asked = graph.model_copy(update={"budget": budget})
    assert budget_words(asked) == words
    assert budget_tone(asked) == tone
    report = int8_report.model_copy(update={"graphs": {"model": asked}})
    page = render_html(report)
    assert page.index("Budget of") < page.index("<h1>")
    console = Console(file=io.StringIO(), width=200)
    console.print(summary_renderable(report))
    assert console.file.getvalue().startswith(words)
