"""What was pruned, and whether that was far enough, in every form of the report."""

import io

import pytest
from pages import HOSTILE, Page
from rich.console import Console

from compressor.report.html import render_html
from compressor.report.markdown import render_markdown
from compressor.report.pruned import SHOWN, goal_tone, goal_words, pruned_view, removal_words
from compressor.report.terminal import summary
from compressor.report.verdict import headline
from compressor.results.graph_report import GraphReport
from compressor.results.pruning import (
    GoalResult,
    PrunedGroup,
    PruningResult,
    RepairedLayer,
)
from compressor.results.report import Report

GOAL = GoalResult(
    asked="--speedup 1.5x", kind="speedup", wanted=1.5, measured=1.31, met=False,
    reason="it runs at 1.31× the speed of the float baseline",
)  # fmt: skip
GROUP = PrunedGroup(
    name="conv1", units_before=64, units_after=48, weights=("conv1.weight", "conv2.weight"),
    damage=0.012, error_before=0.2, error_after=0.05,
)  # fmt: skip
LAYER = RepairedLayer(
    node="conv2", repaired=True, error_before=0.2, error_after=0.05, seconds=0.31,
    memory_bytes=12_000_000,
)  # fmt: skip
PRUNING = PruningResult(
    cost="latency", share=0.25, method="obs", blocks=("add7",), groups=(GROUP,),
    layers=(LAYER, RepairedLayer(node="fc", repaired=False, reason="its weight has other readers")),
    predicted_ms=2.5, measured_ms=2.7,
)  # fmt: skip


def with_pruning(report: Report, **update: object) -> Report:
    graph = report.graphs["model"].model_copy(update={"goal": GOAL, "pruning": PRUNING, **update})
    return report.model_copy(update={"graphs": {"model": graph}})


def told(report: Report) -> str:
    console = Console(width=80, file=(file := io.StringIO()))
    console.print(summary(report))
    return " ".join(file.getvalue().split())


def test_the_verdict_says_that_it_is_pruned(int8_report: Report, float_report: Report):
    assert headline(with_pruning(int8_report).graphs["model"]).startswith("Pruned INT8 ships")
    assert headline(with_pruning(float_report).graphs["model"]).startswith("Pruned float ships")


def test_one_sentence_tells_what_went(int8_report: Report):
    graph = with_pruning(int8_report).graphs["model"]
    assert removal_words(graph) == (
        "Removed 25.0 % of the predicted latency: 1 whole block: add7; 16 of 64 units in 1 group: "
        "conv1; 1 of 2 layers repaired."
    )
    replayed = PruningResult(groups=(GROUP,))
    graph = with_pruning(int8_report, pruning=replayed).graphs["model"]
    assert removal_words(graph) == "Removed: 16 of 64 units in 1 group: conv1."


@pytest.mark.parametrize(
    ("update", "tone", "word"),
    [
        ({}, "worse", "NOT met"),
        ({"met": True}, "better", "met"),
        ({"held_back": True}, "even", "NOT met"),
    ],
)
def test_the_goal_comes_with_its_verdict(
    update: dict[str, bool], tone: str, word: str, int8_report: Report
):
    goal = GOAL.model_copy(update=update)
    report = with_pruning(int8_report, goal=goal)
    graph = report.graphs["model"]
    sentence = f"Goal of --speedup 1.5x: {word}: it runs at 1.31× the speed of the float baseline."
    assert goal_words(graph) == sentence
    assert goal_tone(graph) == tone
    assert sentence in told(report)
    assert f"**{sentence}**" in render_markdown(report)
    page = Page(render_html(report))
    assert sentence in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert ("class", tone) in page.attributes


def test_terminal_and_summary_tell_it_in_a_line(int8_report: Report):
    report = with_pruning(int8_report)
    sentence = removal_words(report.graphs["model"])
    assert sentence in told(report)
    assert f"- {sentence}" in render_markdown(report)
    assert len(render_markdown(report).splitlines()) <= 45


def test_the_page_sets_prediction_beside_measurement(int8_report: Report):
    page = Page(render_html(with_pruning(int8_report)))
    text = page.text.replace("\N{NO-BREAK SPACE}", " ").replace(" , ", ", ")
    for words in (
        "What was removed",
        "predicted from timed kernels 2.50 ms, measured 2.70 ms",
        "conv1 64 48 0.012 0.20 0.050 conv1.weight, conv2.weight",
        "conv2 0.20 0.050 repaired 0.31 s, 12.0 MB",
        "fc — — its weight has other readers",
    ):
        assert words in text, words


def test_what_ships_whole_has_no_section(int8_report: Report):
    graph: GraphReport = int8_report.graphs["model"]
    assert pruned_view(graph) is None
    assert goal_words(graph) == removal_words(graph) == ""
    assert "What was removed" not in render_html(int8_report)


def test_long_lists_are_folded_and_names_are_harmless(int8_report: Report):
    group = GROUP.model_copy(update={"name": HOSTILE, "weights": (HOSTILE,)})
    many = PRUNING.model_copy(update={"groups": (group,) * (SHOWN + 3), "blocks": (HOSTILE,)})
    html = render_html(with_pruning(int8_report, pruning=many))
    page = Page(html)
    assert "script" not in page.tags
    assert "3 more groups" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert HOSTILE not in html
    assert "onerror" not in dict(page.attributes)


def test_the_report_goes_through_its_json(int8_report: Report):
    report = with_pruning(int8_report)
    again = Report.model_validate_json(report.model_dump_json())
    assert again == report
    assert render_html(again) == render_html(report)


def test_short_names_stay_whole_and_long_ones_may_break(int8_report: Report):
    long = "a_rather_long_name_of_a_node_" * 3
    groups = tuple(GROUP.model_copy(update={"name": name}) for name in ("node_conv2d_1", long))
    pruning = PRUNING.model_copy(update={"groups": groups})
    page = render_html(with_pruning(int8_report, pruning=pruning))
    assert '<code class="nowrap">node_conv2d_1</code>' in page
    assert f"<code>{long}</code>" in page
