"""The report's pictures: matplotlib figures as SVG that lives inside an HTML page.

The same data gives the same bytes. Text stays text, so that it takes the page's font. Colours are
CSS variables of the page (`--ink`, `--quiet`, `--rule`, `--before`, `--after`, `--worse`), so that
one picture serves light, dark and print. Figures are drawn at the width of a phone; a page puts
several side by side where there is room.
"""

import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from compressor.report.verdict import speed_tone
from compressor.results import format as fmt
from compressor.results.graph_report import TensorRange
from compressor.results.measurements import LatencyResult, Timing

# Stand-ins that matplotlib draws with; each becomes a variable of the page.
_INK, _QUIET, _RULE = "#010203", "#010204", "#010205"
_BEFORE, _AFTER, _WORSE = "#010206", "#010207", "#010208"
_VARIABLES = {
    _INK: "var(--ink)",
    _QUIET: "var(--quiet)",
    _RULE: "var(--rule)",
    _BEFORE: "var(--before)",
    _AFTER: "var(--after)",
    _WORSE: "var(--worse)",
}
COLOURS = {
    "ink": _INK,
    "quiet": _QUIET,
    "rule": _RULE,
    "before": _BEFORE,
    "after": _AFTER,
    "worse": _WORSE,
}
"""The page's colours, for pictures that are drawn elsewhere (`drawn`)."""
_WIDTH_INCHES = 352 / 72
_FONT_POINTS = 10.5
_LABEL_WIDTH = 28
"""Characters of a label beside the axes, whose names of sizes would else leave them no room."""
_BINS = 40
_LEAST_SPAN = 0.2
_COUNT_TICKS = {1: "1", 10**3: "1 k", 10**6: "1 M", 10**9: "1 G"}


def latency_distribution(latency: LatencyResult, key: str) -> Markup | None:
    """Histograms of the traces of baseline and result, with their medians.

    The axis ends where `axis_end` says, so that one straggler does not squeeze the rest.

    Args:
        latency: One configuration.
        key: Unique among the pictures of a page.

    Returns:
        The picture, None where there are no traces.
    """
    timings = _timings(latency)
    if not all(one.trace for one in timings) or not timings:
        return None
    words = (
        f"Distribution of latencies at {fmt.configuration(latency.config)}: baseline median "
        f"{fmt.milliseconds(timings[0].median_ms)}, result median "
        f"{fmt.milliseconds(timings[1].median_ms)}"
    )
    with _style(key):
        figure, axes = _figure(height=2.1)
        _draw_distribution(axes, latency)
        return _svg(figure, words)


def _draw_distribution(axes: Any, latency: LatencyResult) -> None:
    high = axis_end(latency)
    timings = _timings(latency)
    low = min(value for one in timings for value in one.trace)
    edges = np.linspace(low - 0.04 * (high - low), high, _BINS + 1)
    series = tuple(zip(timings, (_BEFORE, _AFTER), strict=True))
    for timing, colour in series:
        shares = np.histogram(timing.trace, bins=edges)[0] / len(timing.trace)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.3, linewidth=0)
        axes.stairs(shares, edges, color=colour, linewidth=1.1)
    top = axes.get_ylim()[1] * 1.06
    for timing, colour in series:
        axes.vlines(timing.median_ms, 0, top, color=colour, linewidth=1.1, linestyle="--")
    axes.set(xlim=(edges[0], edges[-1]), ylim=(0, top), yticks=[])
    axes.set_xlabel("milliseconds an inference", color=_QUIET, fontsize=_FONT_POINTS)


def axis_end(latency: LatencyResult) -> float:
    """A little beyond the larger 95th percentile, or the largest latency where that is less."""
    timings = _timings(latency)
    traces = [value for one in timings for value in one.trace]
    low, top = min(traces), max(traces)
    high = max(one.p95_ms for one in timings)
    high += 0.15 * (high - low)
    high = min(high, top)
    return high if high > low else low * 1.05 + 1e-6


def beyond_axis(latency: LatencyResult) -> int:
    """How many latencies `latency_distribution` leaves out on the right."""
    high = axis_end(latency)
    return sum(value > high for one in _timings(latency) for value in one.trace)


def _timings(latency: LatencyResult) -> tuple[Timing, ...]:
    """Timings of baseline and result; none where the machine was too busy."""
    if latency.baseline is None or latency.result is None:
        return ()
    return latency.baseline, latency.result


def speed_ratios(latencies: Sequence[LatencyResult], key: str) -> Markup | None:
    """The speed-up of every configuration with its interval, around the line of no change."""
    latencies = _known(latencies)
    if not latencies:
        return None
    labels = [fmt.configuration(latency.config) for latency in latencies]
    words = "; ".join(
        f"{label} {fmt.ratio(latency.speed)}"
        for label, latency in zip(labels, latencies, strict=True)
    )
    wrapped = [textwrap.fill(label, _LABEL_WIDTH) for label in labels]
    further = sum(label.count("\n") for label in wrapped)
    with _style(key):
        figure, axes = _figure(height=0.75 + 0.34 * len(latencies) + 0.2 * further)
        _draw_ratios(axes, latencies, wrapped)
        return _svg(figure, f"Speed-up of each configuration: {words}")


def _draw_ratios(axes: Any, latencies: Sequence[LatencyResult], labels: Sequence[str]) -> None:
    axes.axvline(1, color=_QUIET, linewidth=1, linestyle="--")
    left, right = ratio_span(latencies)
    for row, latency in enumerate(latencies):
        colour = {"better": _AFTER, "worse": _WORSE}.get(speed_tone(latency), _BEFORE)
        low, high = max(latency.ends.low, left), min(latency.ends.high, right)
        axes.hlines(row, low, high, color=colour, linewidth=7, alpha=0.35)
        if low > latency.ends.low:
            axes.plot([low], [row], "<", color=colour, markersize=7)
        if high < latency.ends.high:
            axes.plot([high], [row], ">", color=colour, markersize=7)
        axes.plot([latency.speed], [row], "o", color=colour, markersize=5)
    axes.set_yticks(range(len(labels)), labels, color=_INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel("times as fast as the baseline", color=_QUIET, fontsize=_FONT_POINTS)
    axes.margins(x=0.08)


def ratio_span(latencies: Sequence[LatencyResult]) -> tuple[float, float]:
    """The span of ratios that `speed_ratios` draws.

    All intervals, unless one reaches further beyond all speed-ups and 1 than those are apart: what
    was hard to time must not squeeze the rest.
    """
    latencies = _known(latencies)
    shown = [1.0, *(latency.speed for latency in latencies)]
    low, high = min(shown), max(shown)
    beyond = max(high - low, _LEAST_SPAN)
    ends = [latency.ends for latency in latencies]
    return (
        max(min([low, *(e.low for e in ends)]), low - beyond),
        min(max([high, *(e.high for e in ends)]), high + beyond),
    )


def cuts_ratios(latencies: Sequence[LatencyResult]) -> bool:
    """Whether `speed_ratios` cuts an interval off."""
    low, high = ratio_span(latencies)
    return any(one.ends.low < low or one.ends.high > high for one in _known(latencies))


def _known(latencies: Sequence[LatencyResult]) -> list[LatencyResult]:
    return [latency for latency in latencies if latency.is_known]


def range_histogram(tensor: TensorRange, key: str) -> Markup:
    """What was observed of a tensor, with the ends of its range; counts are on a log axis.

    The axis ends where `drawn_span` says, so that a far outlier does not squeeze the rest.
    """
    words = (
        f"Histogram of {tensor.value} with the range chosen for it, "
        f"{fmt.significant(tensor.low)} to {fmt.significant(tensor.high)}"
    )
    with _style(key):
        figure, axes = _figure(height=1.7)
        _draw_range(axes, tensor)
        return _svg(figure, words)


def _draw_range(axes: Any, tensor: TensorRange) -> None:
    edges, counts = np.array(tensor.edges), np.array(tensor.counts, dtype=float)
    middles = (edges[1:] + edges[:-1]) / 2
    kept = (middles >= tensor.low) & (middles <= tensor.high)
    least, top = 0.6, max(2.0, counts.max() * 2)
    for which, colour, alpha in ((kept, _AFTER, 0.6), (~kept, _WORSE, 0.9)):
        if not (which & (counts > 0)).any():
            continue
        heights = np.where(which & (counts > 0), counts, least)
        axes.stairs(
            heights, edges, baseline=least, fill=True, color=colour, alpha=alpha, linewidth=0
        )
    axes.vlines([tensor.low, tensor.high], least, top, color=_INK, linewidth=1.1, linestyle="--")
    axes.set_yscale("log")
    ticks = {tick: label for tick, label in _COUNT_TICKS.items() if tick < top}
    axes.set_yticks(list(ticks), list(ticks.values()), color=_QUIET)
    axes.minorticks_off()
    low, high = drawn_span(tensor)
    low, high = min(low, tensor.low), max(high, tensor.high)
    axes.set(xlim=(low - 0.02 * (high - low), high + 0.02 * (high - low)), ylim=(least, top))


def drawn_span(tensor: TensorRange) -> tuple[float, float]:
    """The ends of what `range_histogram` draws: the bins of ordinary width."""
    edges = np.array(tensor.edges)
    if len(edges) < 4:
        return tensor.edges[0], tensor.edges[-1]
    widths = np.diff(edges)
    wide = widths > 1.5 * widths[len(widths) // 2]
    return float(edges[int(wide[0])]), float(edges[-1 - int(wide[-1])])


def drawn(draw: Callable[[Any], None], *, height: float, words: str, key: str) -> Markup:
    """A picture of one axes that `draw` fills.

    Args:
        draw: Draws with `COLOURS` on an axes that has a lower axis only.
        height: Height in inches.
        words: What it shows, for those who cannot see.
        key: Unique among the pictures of a page.
    """
    with _style(key):
        figure, axes = _figure(height=height)
        draw(axes)
        return _svg(figure, words)


@contextmanager
def _style(key: str) -> Iterator[None]:
    """Matplotlib's own defaults whatever a user's `matplotlibrc` says, and ids made from `key`."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": key})
        yield


def _figure(height: float) -> tuple[Any, Any]:
    """An empty figure of the page's width and `height` inches, with nothing but a lower axis."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415 - slow to load
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to load

    figure = Figure(figsize=(_WIDTH_INCHES, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_RULE)
    axes.tick_params(axis="x", color=_RULE, labelcolor=_QUIET, labelsize=_FONT_POINTS)
    axes.tick_params(axis="y", length=0, labelsize=_FONT_POINTS)
    return figure, axes


def _svg(figure: Any, words: str) -> Markup:
    """The drawn figure as an element of a page, described by `words` for those who cannot see."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    return _inline(buffer.getvalue(), words)


def _inline(document: str, words: str) -> Markup:
    """Make an SVG document an element of a page.

    Prolog, metadata and style sheet go (the sheet would apply to the whole page), as do the ids
    that nothing refers to. The size is left to the page.
    """
    text = document[document.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style[^>]*>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    referred = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in referred else "", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    text = re.sub(r" font-family: [^;\"]*;", "", text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    view = re.search(r'viewBox="([^"]*)"', text)
    head = f'<svg role="img" aria-label="{escape(words)}" viewBox="{view[1] if view else ""}">'
    text = head + text[text.index(">") + 1 :].replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, variable)
    return Markup(re.sub(r"\s*\n\s*", " ", text).strip())
