import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.report.html import render_html
from compressor.report.markdown import escaped, render_markdown
from compressor.results.graph_report import Candidate
from compressor.results.records import Decision
from compressor.results.report import Report
from exporters.base import EngineBuild

HOSTILE = "<img src=x>|`a`*b*_c_[d](http://e)@team #1 ~~f~~ $g$ &amp; \\ \x1b[0m\n# h"


def test_the_summary_holds_verdict_figures_decisions_notices_and_command(
    int8_report: Report,
) -> None:
    text = render_markdown(int8_report)
    lines = text.splitlines()
    assert lines[0].startswith("## INT8 ships: 1.56× faster (95 % interval 1.52–1.60) at batch 1")
    for told in (
        "| batch 1, one thread | 4.21 ms | 2.70 ms | 1.56× | 1.52–1.60 |",
        "| accuracy | 86.95 % | 86.80 % | −0.15 points | −0.50…+0.20 |",
        "| file size | 1.09 MB | 0.29 MB | 3.81× smaller |  |",
        "| peak memory |",
        "- **Slower at batch 32, all threads",
        "- int8, minmax: shipped; The fastest candidate.",
        "- 28 of 30 nodes of the executed graph run as integer",
        "- This CPU has no VNNI: weights use 7 bits.",
        f"```sh\n{int8_report.command}\n```",
        "onnxruntime 1.31.1",
    ):
        assert told in text, told
    assert len(lines) <= 42
    assert text.endswith("\n")


def test_what_was_built_and_not_run_is_not_said_to_be_executed(int8_report: Report) -> None:
    engine = EngineBuild(
        status="built, not run", precision="int8", reason="there is no driver here"
    )
    graphs = {
        name: graph.model_copy(update={"engine": engine})
        for name, graph in int8_report.graphs.items()
    }
    report = int8_report.model_copy(update={"graphs": graphs})
    text = render_markdown(report)
    assert "- 28 of 30 nodes of the graph that the engine is built from read integers" in text
    assert "Counted in the graph that the engine is built from." in render_html(report)
    assert "executed graph" not in text
    assert "Counted in the graph as the runtime executes it." in render_html(int8_report)


def test_what_was_not_measured_shows_its_reason(float_report: Report) -> None:
    text = render_markdown(float_report)
    assert "| quality | — | — | — | no data to measure on; \\-\\-eval" not in text
    assert "| quality | — | — | — | no data to measure on; --eval adds it |" in text
    assert "the child process was killed" in text


def test_every_graph_of_a_job_has_its_part(job_report: Report) -> None:
    text = render_markdown(job_report)
    assert "## encoder: INT8 ships" in text
    assert "## decoder: Float ships" in text
    assert text.count("**Reproduce**") == 1


def test_names_become_neither_markup_nor_links_nor_mentions(int8_report: Report) -> None:
    graph = int8_report.graphs["model"].model_copy(
        update={
            "shipped_reason": HOSTILE,
            "candidates": (Candidate(name=HOSTILE, shipped=True, reason=HOSTILE),),
        }
    )
    report = int8_report.model_copy(
        update={"source": HOSTILE, "graphs": {HOSTILE: graph, "b": graph}, "notices": (HOSTILE,)}
    )
    text = render_markdown(report)
    outside = text.replace(f"\n{report.command}\n", "")
    for markup in ("<img", "|`", "*b*", "_c_", "[d]", "http://", "@team", " #1", "~~", "$g$"):
        assert not re.search(rf"(?<!\\){re.escape(markup)}", outside), markup
    assert "\x1b" not in text
    assert not re.search(r"^# h", text, re.M)
    for row in re.findall(r"^\|.*$", text, re.M):
        assert len(re.findall(r"(?<!\\)\|", row)) == 6, row


@given(st.text(max_size=80))
def test_escaped_text_is_one_line_that_cannot_open_a_tag_or_cell(text: str) -> None:
    found = escaped(text)
    assert len(found.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[<|`\[*_]", found)


@pytest.mark.parametrize("start", ["- a", "+ a", "1. a", "12) a", "==="])
def test_text_does_not_begin_a_list(start: str) -> None:
    assert "\\" in escaped(start)
    assert escaped(start).replace("\\", "") == start


def test_figures_stay_legible() -> None:
    assert escaped("1.37 ms → 0.80 ms (−0.15…+0.2)") == "1.37 ms → 0.80 ms (−0.15…+0.2)"


def test_a_command_cannot_leave_its_fence(int8_report: Report) -> None:
    command = shlex.join(["compress", "a b.onnx", "--metric", "x\n```\n# out ````"])
    text = render_markdown(int8_report.model_copy(update={"command": command}))
    found = re.search(r"^(`{3,})sh\n(.*?)\n\1$", text, re.M | re.S)
    assert found is not None
    assert found[2] == command
    assert shlex.split(found[2])[1] == "a b.onnx"


def test_long_lists_are_cut_and_say_so(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    many = tuple(Candidate(name=f"c{i}", shipped=False, reason="r") for i in range(40))
    report = int8_report.model_copy(
        update={
            "graphs": {"model": graph.model_copy(update={"candidates": many})},
            "notices": tuple(f"notice {i} {'x' * 900}" for i in range(40)),
            "stages": (
                int8_report.stages[0].model_copy(
                    update={"decisions": (Decision(subject="s", verdict="v", reason="r"),) * 99}
                ),
            ),
        }
    )
    text = render_markdown(report)
    assert "34 more candidates in the report" in text
    assert "35 more notices in the report" in text
    assert len(text.splitlines()) <= 50
    assert max(map(len, text.splitlines())) < 700


def test_a_run_from_python_points_to_the_recipe(int8_report: Report) -> None:
    text = render_markdown(int8_report.model_copy(update={"command": None}))
    assert "manifest.json" in text
    assert "```" not in text
