import re
import shlex
from html import unescape

import pytest
from markupsafe import Markup
from pages import HOSTILE, Page
from pydantic import ValidationError

from compressor.report.html import page_environment, render_html
from compressor.results.graph_report import Candidate, GraphReport, LayerError, NodePlacement
from compressor.results.measurements import ChangedSample
from compressor.results.records import Decision, Parity, StageRecord
from compressor.results.report import Report


def hostile(report: Report) -> Report:
    """The report with every name that a model or a user could have made up."""
    graph = report.graphs["model"].model_copy(
        update={
            "shipped_reason": HOSTILE,
            "parity": (
                Parity(batch=2, output=HOSTILE, max_absolute=0, max_relative=0, tolerance=1),
            ),
            "placement": (NodePlacement(operator=HOSTILE, integer=1, floating=1),),
            "float_reasons": {f"{HOSTILE}{i}": f"{HOSTILE} {i % 2}" for i in range(8)},
            "layers": tuple(
                LayerError(
                    node=f"{HOSTILE}{i}",
                    operator=HOSTILE,
                    integer=False,
                    reason=HOSTILE,
                    value=HOSTILE,
                    sqnr_db=float(i),
                )
                for i in range(30)
            ),
            "tensors": tuple(
                tensor.model_copy(update={"value": HOSTILE, "method": HOSTILE})
                for tensor in report.graphs["model"].tensors
            ),
            "candidates": tuple(
                Candidate(
                    name=HOSTILE,
                    shipped=True,
                    reason=HOSTILE,
                    integer_nodes=i,
                    quality=report.graphs["model"]
                    .quality[0]
                    .model_copy(update={"metric": HOSTILE, "unit": HOSTILE}),
                )
                for i in range(2)
            ),
            "changed": tuple(
                ChangedSample(index=i, before=0, after=1, margin=1, text=HOSTILE) for i in range(2)
            ),
            "changed_total": 2,
            "quality": tuple(
                quality.model_copy(update={"metric": HOSTILE, "unit": HOSTILE, "data": HOSTILE})
                for quality in report.graphs["model"].quality
            ),
        }
    )
    stage = StageRecord(
        name=HOSTILE,
        seconds=1,
        parameters={HOSTILE: HOSTILE},
        changed={HOSTILE: 1},
        decisions=(Decision(subject=HOSTILE, verdict=HOSTILE, reason=HOSTILE),),
        notices=(HOSTILE,),
    )
    return report.model_copy(
        update={
            "source": HOSTILE,
            "target": HOSTILE,
            "created": HOSTILE,
            "command": HOSTILE,
            "artifact": HOSTILE,
            "files": {HOSTILE: HOSTILE},
            "graphs": {HOSTILE: graph, "other": graph},
            "stages": (stage,),
            "notices": (HOSTILE,),
        }
    )


def test_the_verdict_comes_first(int8_report: Report) -> None:
    page = Page(render_html(int8_report))
    verdict = page.text.index("INT8 ships: 1.56× faster (95 % interval 1.52–1.60)")
    assert verdict < page.text.index("Speed 1.56×") < page.text.index("What it gains")
    assert page.tags.count("h1") == 1


def test_what_one_asks_first_comes_first_and_the_tool_itself_last(int8_report: Report) -> None:
    html = render_html(int8_report.model_copy(update={"reused": ("capture", "judgements (3)")}))
    order = ["What it gains", ">Quality<", "What was done", ">Candidates<", ">Data<", "own time",
             "Use and reproduce it"]  # fmt: skip
    places = [html.index(f"{word}", html.index("<main>")) for word in order]
    assert places == sorted(places)
    tool = html[html.index('<details class="section" id="tool">') :]
    assert "Taken from earlier runs: capture, judgements (3)" in tool
    assert "Where the time went" in tool
    for link in ("gains", "quality", "candidates"):
        assert f'href="#graph-1-{link}"' in html


def test_no_column_holds_nothing_but_dashes(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    bare = tuple(
        one.model_copy(update={"latency": None, "quality": None, "size": None})
        for one in graph.candidates
    )
    layers = tuple(one.model_copy(update={"own_sqnr_db": None}) for one in graph.layers)
    poor = graph.model_copy(update={"candidates": bare, "layers": layers})
    html = render_html(int8_report.model_copy(update={"graphs": {"model": poor}}))
    candidates = html[html.index('id="graph-1-candidates"') :]
    heads = re.findall(r"<th[^>]*>(.*?)</th>", candidates[: candidates.index("</thead>")])
    assert heads == ["Candidate", "Outcome"]
    assert ">Alone<" not in html


def test_many_notices_are_folded_away(int8_report: Report) -> None:
    said = tuple(f"notice {number}" for number in range(5))
    html = render_html(int8_report.model_copy(update={"notices": said}))
    assert "2 more notices" in html
    assert html.index("Notice 2") < html.index("2 more notices") < html.index("Notice 3")


def test_everything_measured_is_on_the_page(int8_report: Report) -> None:
    text = Page(render_html(int8_report)).text
    for told in (
        "4.21 ms → 2.70 ms",
        "−0.15 points",
        "95 % interval −0.50…+0.20",
        "2,000 samples, evaluation data",
        "3.81× smaller",
        "96.4 MB → 88.1 MB",
        "Slower at batch 32, all threads: 0.89× the speed",
        "no significant difference",
        "no integer kernel in this runtime",
        "21 × Conv + BatchNormalization",
        "16 decisions",
        "an island between float nodes",
        "The batch dimension is dynamic.",
        "7 bits",
        "--metric accuracy",
        "E5-2686",
        "onnxruntime 1.31.1",
        "calib.npz, 512 samples",
        "resnet20-ort/manifest.json",
        "8.2e−7",
    ):
        assert told in text, told


def test_what_was_not_measured_shows_its_reason(float_report: Report) -> None:
    bare = float_report.graphs["model"].model_copy(
        update={"latency": (), "latency_reason": "the graph was not changed"}
    )
    for report in (float_report, float_report.model_copy(update={"graphs": {"model": bare}})):
        text = Page(render_html(report)).text
        assert "Float ships" in text
        assert "There is no calibration data; --calib adds it." in text
        for reason in (
            "no data to measure on; --eval adds it",
            "the size of dimension 'tokens' is unknown",
            "the child process was killed",
        ):
            assert reason in text
    assert "the graph was not changed" in text


def test_a_page_needs_nothing_else(int8_report: Report) -> None:
    html = render_html(int8_report)
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert name not in ("src", "srcset", "data", "action", "poster")
        assert not name.startswith("on")
        if name == "href":
            assert value is not None
            assert value.startswith("#")
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert ("content", policy) in page.attributes


def test_names_do_not_become_markup(int8_report: Report) -> None:
    html = render_html(hostile(int8_report))
    page = Page(html)
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 20
    assert "{{ 7*7 }}" in page.text


def test_ids_are_unique_and_links_lead_somewhere(job_report: Report) -> None:
    attributes = Page(render_html(job_report)).attributes
    ids = [value for name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = {value[1:] for name, value in attributes if name == "href" and value}
    assert targets <= set(ids)
    assert {"graph-1", "graph-2"} <= targets


def test_each_graph_of_a_job_has_its_verdict_and_section(job_report: Report) -> None:
    page = Page(render_html(job_report))
    assert page.tags.count("h1") == 2
    encoder, decoder = page.text.index("INT8 ships"), page.text.index("Float ships")
    assert page.text.index("encoder") < encoder < page.text.index("decoder") < decoder
    assert page.text.count("Peak memory") == 2


@pytest.mark.parametrize("name", ["int8_report", "float_report", "job_report", "agreement_report"])
def test_the_page_can_be_made_again_from_json(name: str, request: pytest.FixtureRequest) -> None:
    report: Report = request.getfixturevalue(name)
    again = Report.model_validate_json(report.model_dump_json())
    assert render_html(again) == render_html(report)


def test_float_reasons_are_grouped_the_commonest_first(int8_report: Report) -> None:
    reasons = {"/a": "rare"} | {f"/n{i}": "common" for i in range(5)}
    graph: GraphReport = int8_report.graphs["model"].model_copy(update={"float_reasons": reasons})
    text = Page(render_html(int8_report.model_copy(update={"graphs": {"model": graph}}))).text
    assert "common 5 nodes /n0" in text
    assert text.index("common 5 nodes") < text.index("rare /a")


def test_agreement_leads_with_the_agreement(agreement_report: Report) -> None:
    text = Page(render_html(agreement_report)).text
    assert "Quality: agreement with the original 99.20 %" in text
    assert "significantly worse" not in text


PIXEL = "data:image/png;base64,iVBORw0KGgo="


def with_changed(report: Report, total: int | None, *samples: ChangedSample) -> Report:
    update = {"changed": samples, "changed_total": total}
    graph = report.graphs["model"].model_copy(update=update)
    return report.model_copy(update={"graphs": {"model": graph}})


def test_changed_decisions_show_the_sample_and_both_decisions(int8_report: Report) -> None:
    samples = (
        ChangedSample(index=7, before=3, after=5, label=3, margin=0.25, image=PIXEL),
        ChangedSample(index=9, before=2, after=4, label=4, margin=0.1, text="101 2023"),
        ChangedSample(index=11, before=2, after=-1, label=0),
    )
    page = Page(render_html(with_changed(int8_report, 14, *samples)))
    for told in (
        "14 of 2,000 decisions changed; the 3 that the original was surest of",
        "sample 7 3 → 5 label 3: now wrong margin 0.25",
        "sample 9 2 → 4 label 4: now right margin 0.10 101 2023",
        "2 → none (NaN) label 0: wrong both times",
    ):
        assert told in page.text, told
    assert [value for name, value in page.attributes if name == "src"] == [PIXEL]


def test_where_nothing_changed_that_is_told(int8_report: Report) -> None:
    assert "0 of 2,000 decisions changed." in Page(render_html(with_changed(int8_report, 0))).text
    assert "decisions changed" not in Page(render_html(int8_report)).text


def test_outputs_that_decide_nothing_show_the_largest_errors(int8_report: Report) -> None:
    sample = ChangedSample(index=4, error=0.032, image=PIXEL)
    text = Page(render_html(with_changed(int8_report, None, sample))).text
    assert "Samples with the largest error" in text
    assert "sample 4 error 3.2 %" in text


@pytest.mark.parametrize(
    "image", ["javascript:alert(1)", "http://example.org/x.png", "data:text/html;base64,AAAA", ""]
)
def test_an_image_is_a_png_in_the_page_or_nothing(image: str) -> None:
    with pytest.raises(ValidationError):
        ChangedSample(index=0, image=image)


def test_the_command_can_be_copied_as_it_was_typed(int8_report: Report) -> None:
    argv = ["compress", "my model.pt", "--mean", "a  b", "--metric", "it's $x.py:f", "-o", "<o>&"]
    html = render_html(int8_report.model_copy(update={"command": shlex.join(argv)}))
    block = re.search(r"<h3>Reproduce</h3>\s*<pre>(.*?)</pre>", html, re.S)
    assert block is not None
    copied = unescape(re.sub(r"<[^>]*>", "", block[1]))
    assert shlex.split(copied) == argv


def test_a_run_from_python_has_no_command_and_may_have_no_stages(int8_report: Report) -> None:
    bare = int8_report.model_copy(
        update={"command": None, "stages": (), "files": {}, "artifact": None, "data": ()}
    )
    text = Page(render_html(bare)).text
    assert "called from Python" in text
    assert "What each stage did" not in text
    assert "Where the time went" not in text


def test_no_control_character_of_a_file_reaches_a_page() -> None:
    page = page_environment().from_string("{{ name }} {{ mark }}")
    shown = page.render(name="\x1b[31mred\n<b>", mark=Markup("<i>"))
    assert shown == "\\x1b[31mred\n&lt;b&gt; <i>"
