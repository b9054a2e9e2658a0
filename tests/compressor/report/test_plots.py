import re
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from compressor.report import plots
from compressor.results.graph_report import TensorRange
from compressor.results.measurements import LatencyResult
from compressor.results.records import Interval
from compressor.results.report import Report


@pytest.fixture
def latencies(int8_report: Report) -> tuple[LatencyResult, ...]:
    return int8_report.graphs["model"].latency


@pytest.fixture
def tensors(int8_report: Report) -> tuple[TensorRange, ...]:
    return int8_report.graphs["model"].tensors


def with_traces(
    latency: LatencyResult, before: tuple[float, ...], after: tuple[float, ...]
) -> LatencyResult:
    return latency.model_copy(
        update={
            "baseline": latency.baseline.model_copy(update={"trace": before}),
            "result": latency.result.model_copy(update={"trace": after}),
        }
    )


def test_the_same_figures_give_the_same_bytes(latencies: tuple[LatencyResult, ...]) -> None:
    first = plots.latency_distribution(latencies[0], "a"), plots.speed_ratios(latencies, "b")
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red"}):
        again = plots.latency_distribution(latencies[0], "a"), plots.speed_ratios(latencies, "b")
    assert first == again


def test_pictures_are_elements_that_leave_the_page_alone(
    latencies: tuple[LatencyResult, ...],
) -> None:
    pictures = [plots.latency_distribution(latency, f"p{i}") for i, latency in enumerate(latencies)]
    pictures.append(plots.speed_ratios(latencies, "ratios"))
    ids: list[str] = []
    for picture in pictures:
        assert picture is not None
        root = ElementTree.fromstring(picture)
        assert root.tag == "svg"
        assert root.get("role") == "img"
        assert root.get("aria-label")
        own = re.findall(r' id="([^"]*)"', picture)
        assert set(own) == set(re.findall(r'(?:url\(#|href="#)([^)"]+)', picture))
        ids += own
        assert not re.search(r"<style|<script|https?:|<!|<\?", picture)
    assert len(ids) == len(set(ids))


def test_colours_are_the_pages_and_text_is_text(latencies: tuple[LatencyResult, ...]) -> None:
    picture = plots.speed_ratios(latencies, "ratios")
    assert picture is not None
    assert not re.search(r"#[0-9a-f]{6}\b", picture.replace("url(#", "").replace('"#', '"'))
    assert "font-family" not in picture
    for variable in ("--before", "--after", "--worse", "--ink", "--quiet", "--rule"):
        assert f"var({variable})" in picture
    for label in ("batch 1, one thread", "batch 32, all threads"):
        assert f">{label}</text>" in picture


def test_labels_with_many_sizes_leave_room_for_the_picture(
    latencies: tuple[LatencyResult, ...],
) -> None:
    sizes = ", ".join(f"past_sequence_length_{i}=128" for i in range(6))
    long = [one.model_copy(update={"config": one.config.model_copy(update={"sizes": sizes})})
            for one in latencies]  # fmt: skip
    picture = plots.speed_ratios(long, "ratios")  # matplotlib's warning would be an error here
    assert picture is not None
    assert picture.count("past_sequence_length_5=128") >= len(long)


def test_nothing_is_drawn_without_data(latencies: tuple[LatencyResult, ...]) -> None:
    assert plots.latency_distribution(with_traces(latencies[0], (), (1.0,)), "k") is None
    assert plots.latency_distribution(with_traces(latencies[0], (1.0,), ()), "k") is None
    assert plots.speed_ratios((), "k") is None


def test_one_wide_interval_does_not_squeeze_the_other_speed_ups(
    latencies: tuple[LatencyResult, ...],
) -> None:
    pairs = [(1.8, (1.7, 1.9)), (2.0, (1.6, 20.0)), (1.5, (0.01, 1.6))]
    made = [
        latencies[0].model_copy(update={"ratio": ratio, "interval": Interval(low=low, high=high)})
        for ratio, (low, high) in pairs
    ]
    assert plots.ratio_span(made) == pytest.approx((0.01, 3.0))
    assert plots.cuts_ratios(made)
    assert not plots.cuts_ratios(made[:1])
    assert not plots.cuts_ratios(())
    assert plots.ratio_span(made[:1]) == pytest.approx((1.0, 1.9))


@pytest.mark.parametrize("value", [0.0, 1e-4, 2.5, 1e5])
def test_a_clock_too_coarse_to_show_any_spread(
    latencies: tuple[LatencyResult, ...], value: float
) -> None:
    flat = with_traces(latencies[0], (value,) * 5, (value,) * 5)
    stuck = flat.model_copy(
        update={
            side: getattr(flat, side).model_copy(update={"median_ms": value, "p95_ms": value})
            for side in ("baseline", "result")
        }
    )
    assert plots.latency_distribution(stuck, "k") is not None
    assert plots.beyond_axis(stuck) == 0


def test_stragglers_are_counted_where_they_are_not_drawn(
    latencies: tuple[LatencyResult, ...],
) -> None:
    latency = latencies[0]
    trace = latency.baseline.trace
    assert plots.beyond_axis(latency) == sum(
        value > plots.axis_end(latency) for value in trace + latency.result.trace
    )
    assert plots.beyond_axis(latency) > 0
    assert plots.axis_end(latency) < max(trace)


def test_range_histograms_are_elements_in_the_pages_colours(
    tensors: tuple[TensorRange, ...],
) -> None:
    for index, tensor in enumerate(tensors):
        picture = plots.range_histogram(tensor, f"t{index}")
        root = ElementTree.fromstring(picture)
        assert (root.tag, root.get("role")) == ("svg", "img")
        assert tensor.value in (root.get("aria-label") or "")
        assert not re.search(r"#[0-9a-f]{6}\b", picture.replace("url(#", "").replace('"#', '"'))
        assert "var(--after)" in picture
        assert ("var(--worse)" in picture) == (tensor.clipped > 0)
        assert ">1</text>" in picture
        assert plots.range_histogram(tensor, f"t{index}") == picture


def test_a_far_outlier_does_not_squeeze_the_axis(tensors: tuple[TensorRange, ...]) -> None:
    assert plots.drawn_span(tensors[0]) == pytest.approx((0.0, 9.0))
    picture = plots.range_histogram(tensors[0], "t")
    ticks = [float(found) for found in re.findall(r">([\d.]+)</text>", picture)]
    assert max(ticks) < 10


@pytest.mark.parametrize(
    ("edges", "counts"), [((0.0, 1.0), (5,)), ((-1e-30, 0.0, 2e-30), (0, 7)), ((0.0, 9e9), (0,))]
)
def test_tensors_that_hardly_vary_are_drawn(
    tensors: tuple[TensorRange, ...], edges: tuple[float, ...], counts: tuple[int, ...]
) -> None:
    flat = tensors[0].model_copy(
        update={"edges": edges, "counts": counts, "low": edges[0], "high": edges[-1]}
    )
    assert "<svg" in plots.range_histogram(flat, "t")
