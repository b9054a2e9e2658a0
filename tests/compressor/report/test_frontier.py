import pytest

from compressor.report.conditions import source_words
from compressor.report.frontier import _curve, drawable, frontier
from compressor.results.graph_report import BudgetResult, Candidate, GraphReport
from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.records import Interval
from compressor.results.report import Report


@pytest.fixture
def graph(int8_report: Report) -> GraphReport:
    return int8_report.graphs["model"]


def candidate(
    graph: GraphReport, difference: float | None, *, timed: bool = True, **fields: object
) -> Candidate:
    quality: QualityResult = graph.quality[0].model_copy(update={"difference": difference})
    latency: LatencyResult | None = graph.latency[0] if timed else None
    values = {"name": "INT8", "shipped": False, "reason": "because", "integer_nodes": 7, **fields}
    return Candidate.model_validate(values | {"quality": quality, "latency": latency})


def test_speeds_are_the_axis_where_all_were_timed(graph: GraphReport) -> None:
    tried = (candidate(graph, -0.6, accepted=False), candidate(graph, 0.1, accepted=True))
    points, timed = drawable(tried)
    assert timed
    assert [(p.label, p.outcome, p.y) for p in points] == [
        ("1", "refused", 0.6),
        ("2", "accepted", -0.1),
    ]
    assert {p.x for p in points} == {graph.latency[0].ratio}
    assert points[0].x_ends == graph.latency[0].interval
    assert points[0].y_ends == Interval(low=-0.2, high=0.5)


def test_nothing_stands_at_a_speed_that_was_not_measured(graph: GraphReport) -> None:
    tried = (candidate(graph, -0.6), candidate(graph, -0.1, timed=False, integer_nodes=3))
    points, timed = drawable(tried)
    assert not timed
    assert [p.x for p in points] == [7, 3]
    assert all(p.x_ends is None for p in points)


def test_a_loss_is_a_change_for_the_worse_in_either_direction(graph: GraphReport) -> None:
    lower = graph.quality[0].model_copy(update={"higher_is_better": False, "difference": 0.3})
    point = drawable([candidate(graph, 0.0).model_copy(update={"quality": lower})])[0][0]
    assert (point.y, point.y_ends) == (0.3, lower.interval)


def test_what_cannot_be_placed_is_left_out_and_said(graph: GraphReport) -> None:
    tried = (
        candidate(graph, -0.6, accepted=False),
        candidate(graph, -0.1, shipped=True),
        candidate(graph, None),
    )
    found = frontier(graph.model_copy(update={"candidates": tried}), "key")
    assert found is not None
    assert "1 candidate without these figures not drawn" in found.words
    assert frontier(graph.model_copy(update={"candidates": tried[2:]}), "key") is None


def test_the_budget_is_a_line(graph: GraphReport) -> None:
    tried = (candidate(graph, -0.6, accepted=False), candidate(graph, -0.1, shipped=True))
    budget = BudgetResult(
        asked="1%", metric="accuracy", unit="%", accept="bound", allowed=0.87, met=True, n=9,
        method="m", reason="r",
    )  # fmt: skip
    without = frontier(graph.model_copy(update={"candidates": tried}), "key")
    found = frontier(graph.model_copy(update={"candidates": tried, "budget": budget}), "key")
    assert found is not None
    assert without is not None
    assert "dashed" in found.words
    assert "dashed" not in without.words
    assert "stroke-dasharray" in found.svg
    assert "stroke-dasharray" not in without.svg
    for variable in ("--after", "--worse", "--before"):
        assert f"var({variable})" in found.svg


@pytest.mark.parametrize("name", ["$\\frac{", "<script>", "&amp;"])
def test_a_metric_may_have_any_name(graph: GraphReport, name: str) -> None:
    tried = [candidate(graph, -0.6), candidate(graph, -0.1)]
    renamed = tuple(
        one.model_copy(update={"quality": one.quality.model_copy(update={"metric": name})})
        for one in tried
        if one.quality is not None
    )
    found = frontier(graph.model_copy(update={"candidates": renamed}), "key")
    assert found is not None
    assert "<script" not in found.svg


def test_a_curve_goes_from_the_whole_graph_through_the_shares(graph: GraphReport) -> None:
    def at(speed: float, loss: float, **fields: object) -> Candidate:
        made = candidate(graph, -loss, **fields)
        return made.model_copy(
            update={"latency": graph.latency[0].model_copy(update={"ratio": speed})}
        )

    tried = (
        at(1.5, 0.1),
        at(2.5, 3.0, pruned=0.5, accepted=False),
        at(1.8, 0.4, pruned=0.25),
    )
    points, _ = drawable(tried)
    assert [(p.x, p.y) for p in _curve(points)] == [(1.5, 0.1), (1.8, 0.4), (2.5, 3.0)]
    assert _curve(drawable(tried[:1])[0]) == []
    found = frontier(graph.model_copy(update={"candidates": tried}), "key")
    assert found is not None
    assert "through the shares removed" in found.words
    assert f"on {graph.quality[0].data}" in found.words, "without a budget nothing was searched"
    whole = frontier(graph.model_copy(update={"candidates": (tried[0], tried[0])}), "key")
    assert whole is not None
    assert "thin line" not in whole.words


def test_the_source_in_pytorch_is_a_point_of_its_own_and_a_sentence(graph: GraphReport) -> None:
    known = graph.latency[0].baseline
    assert known is not None
    own = known.model_copy(update={"median_ms": 2 * known.median_ms})
    tried = graph.model_copy(
        update={"candidates": (candidate(graph, -0.1, shipped=True),), "source_latency": own}
    )
    found = frontier(tried, "key")
    assert found is not None
    assert found.has_source
    assert "PyTorch source 0.500, 0" in found.svg
    result = graph.latency[0].milliseconds[1]
    words = source_words(tried)
    assert words is not None
    assert f"{own.median_ms / result:.3g}× as fast" in words
    plain = frontier(tried.model_copy(update={"source_latency": None}), "key")
    assert plain is not None
    assert not plain.has_source
    assert source_words(graph) is None
