import math

import pytest
from pages import HOSTILE, Page

from compressor.report.html import render_html
from compressor.report.layers import SHOWN, layers_view, worst_layer
from compressor.results import format as fmt
from compressor.results.graph_report import BudgetResult, GraphReport
from compressor.results.report import Report


@pytest.fixture
def graph(int8_report: Report) -> GraphReport:
    return int8_report.graphs["model"]


def page_of(report: Report, graph: GraphReport) -> Page:
    return Page(render_html(report.model_copy(update={"graphs": {"model": graph}})))


def test_layers_are_ranked_with_their_errors_and_reasons(int8_report: Report) -> None:
    text = Page(render_html(int8_report)).text
    for told in (
        "/layer0/conv Conv → relu_0 18.2 dB 27.2 dB integer",
        "/layer1/conv Conv → relu_1 19.5 dB — float an input is not quantized",
        "/layer25/conv Conv → relu_25 no error — float no integer kernel in this runtime",
        "16 more layers, the worst",
        "Nodes that only move values are left out",
    ):
        assert told in text, told
    assert text.index("/layer0/conv") < text.index("/layer9/conv") < text.index("16 more layers")
    assert text.index("16 more layers") < text.index("/layer10/conv")


def test_layers_are_called_by_their_modules(int8_report: Report) -> None:
    graph = int8_report.graphs["model"]
    text = page_of(
        int8_report, graph.model_copy(update={"modules": {"/layer0/conv": "layer1.0.conv1"}})
    ).text
    assert "layer1.0.conv1 Conv /layer0/conv → relu_0 18.2 dB" in text
    assert "/layer1/conv Conv → relu_1" in text


def test_the_worst_tensors_are_told_with_their_range_and_clip(int8_report: Report) -> None:
    text = Page(render_html(int8_report)).text.replace("\N{NO-BREAK SPACE}", " ")
    for told in (
        "relu_0 27.3 dB range 0…6.02 by samples, seen 0…412; 0.031 % clipped; 3 beyond the axis",
        "input 41.0 dB range −2.12…2.64 by minmax, seen −2.12…2.64; nothing clipped",
    ):
        assert told in text, told


def test_names_of_layers_and_tensors_do_not_become_markup(
    int8_report: Report, graph: GraphReport
) -> None:
    strange = {"node": HOSTILE, "operator": HOSTILE, "value": HOSTILE, "reason": HOSTILE}
    floats = {"integer": False, "own_sqnr_db": None}
    layers = tuple(layer.model_copy(update=strange | floats) for layer in graph.layers)
    tensors = tuple(
        tensor.model_copy(update={"value": HOSTILE, "method": HOSTILE}) for tensor in graph.tensors
    )
    assert len(layers) > SHOWN
    page = page_of(int8_report, graph.model_copy(update={"layers": layers, "tensors": tensors}))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    labels = [value or "" for name, value in page.attributes if name == "aria-label"]
    assert sum(HOSTILE in label for label in labels) == len(tensors)
    assert page.text.count(HOSTILE) == 4 * len(layers) + 2 * len(tensors)


def test_what_was_not_measured_has_its_reason(int8_report: Report, graph: GraphReport) -> None:
    update = {"layers": (), "tensors": (), "layers_reason": "the plan was replayed"}
    bare = graph.model_copy(update=update)
    text = page_of(int8_report, bare).text
    assert "Layer by layer: the error of quantization — the plan was replayed" in text
    assert "Tensors that cost" not in text
    # Where nothing was quantized the verdict has said so.
    assert layers_view(bare.model_copy(update={"shipped": "float"}), "a") is None
    assert layers_view(bare.model_copy(update={"layers_reason": None}), "a") is None


def test_the_layers_of_a_candidate_are_told_to_be_that(
    int8_report: Report, graph: GraphReport
) -> None:
    assert "which did not ship" not in page_of(int8_report, graph).text
    reverted = graph.model_copy(update={"shipped": "float"})
    assert "the INT8 graph, which did not ship" in page_of(int8_report, reverted).text


def test_the_worst_layer_is_named_where_quality_suffers(graph: GraphReport) -> None:
    assert worst_layer(graph) == ""
    words = (
        "worst layer of the INT8 graph: /layer0/conv (Conv), 18.2 dB of signal to noise, "
        "alone 27.2 dB"
    )
    quality = graph.quality[0]
    lost = quality.model_copy(
        update={"interval": quality.interval.model_copy(update={"high": -0.1})}
    )
    budget = BudgetResult(
        asked="1%", metric="accuracy", unit="%", accept="bound", met=False, n=9, method="",
        reason="",
    )  # fmt: skip
    assert worst_layer(graph.model_copy(update={"quality": (lost,)})) == words
    assert worst_layer(graph.model_copy(update={"budget": budget})) == words
    kept = budget.model_copy(update={"met": True})
    assert worst_layer(graph.model_copy(update={"budget": kept})) == ""
    for poor in (8.0, math.nan):
        layers = (graph.layers[0].model_copy(update={"sqnr_db": poor}),)
        assert fmt.decibels(poor) in worst_layer(graph.model_copy(update={"layers": layers}))
    assert worst_layer(graph.model_copy(update={"layers": ()})) == ""
