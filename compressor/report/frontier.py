"""The candidates tried: what each loses, against how fast it runs or how much of it is integer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from markupsafe import Markup

from compressor.report.plots import COLOURS, drawn
from compressor.results import format as fmt
from compressor.results.graph_report import Candidate, GraphReport
from compressor.results.measurements import QualityResult
from compressor.results.records import Interval

Outcome = Literal["shipped", "accepted", "refused", "float", "source"]
_LOOKS: dict[Outcome, tuple[str, str, str]] = {
    "shipped": ("o", COLOURS["after"], COLOURS["after"]),
    "accepted": ("o", COLOURS["after"], "none"),
    "refused": ("x", COLOURS["worse"], COLOURS["worse"]),
    "float": ("s", COLOURS["before"], COLOURS["before"]),
    "source": ("D", COLOURS["before"], "none"),
}
"""Marker, colour and filling."""
_LEAST = 1
_ASIDE = 0.3
_LONGEST_NAME = 30


@dataclass(frozen=True)
class PlottedCandidate:
    """A candidate in the picture, with the ends of its intervals where there are any.

    Attributes:
        label: Its number among the candidates of the report, "float", or "PyTorch".
        x: Times as fast as the baseline, or nodes that run as integer.
        y: Loss on the samples of `words`, in the metric's unit; negative is a gain.
        pruned: Share that was removed; None where it is whole.
    """

    label: str
    outcome: Outcome
    x: float
    y: float
    x_ends: Interval | None = None
    y_ends: Interval | None = None
    pruned: float | None = None


@dataclass(frozen=True)
class FrontierPlot:
    """The picture and what its caption tells."""

    svg: Markup
    axis: str
    words: str
    has_source: bool = False


def frontier(graph: GraphReport, key: str) -> FrontierPlot | None:
    """The picture; None unless a candidate can be drawn."""
    points, timed = drawable(graph.candidates)
    if len(points) < _LEAST:
        return None
    quality = next(c.quality for c in graph.candidates if c.quality is not None)
    allowed = None if graph.budget is None else graph.budget.allowed
    axis = "speed" if timed else "nodes that run as integer"
    across = "times as fast as the baseline" if timed else axis
    own = _source(graph) if timed else ()
    everything = (PlottedCandidate("float", "float", 1.0 if timed else 0.0, 0.0), *own, *points)
    told = "; ".join(
        f"{p.label} {p.outcome} {fmt.significant(p.x)}, {fmt.significant(p.y, 2)}"
        for p in everything
    )
    svg = drawn(
        lambda axes: _draw(axes, everything, allowed, (across, _loss_label(quality))),
        height=2.9,
        words=f"Loss of each candidate against {axis}: {told}",
        key=key,
    )
    missing = len(graph.candidates) - len(points)
    where = "the samples that were searched on" if graph.budget else quality.data
    return FrontierPlot(svg, axis, _words(where, points, missing, allowed), bool(own))


def _source(graph: GraphReport) -> tuple[PlottedCandidate, ...]:
    """The module in PyTorch, whose speed was not taken in turn; none where it is not known."""
    known, first = graph.source_latency, graph.latency[0] if graph.latency else None
    if known is None or first is None or first.baseline is None:
        return ()
    pace = first.baseline.median_ms / known.median_ms
    return (PlottedCandidate("PyTorch", "source", pace, 0.0),)


def drawable(candidates: Sequence[Candidate]) -> tuple[tuple[PlottedCandidate, ...], bool]:
    """The candidates with a loss, and whether their places along the axis are speeds.

    They are where every one of them was timed; else all stand at the number of nodes that run as
    integer, so that nothing stands at a speed that was not measured.
    """
    judged = [
        (f"{number}", candidate, candidate.quality)
        for number, candidate in enumerate(candidates, start=1)
        if candidate.quality is not None and candidate.quality.difference is not None
    ]
    timed = all(
        candidate.latency is not None and candidate.latency.is_known for _, candidate, _ in judged
    )
    points = []
    for label, candidate, quality in judged:
        latency = candidate.latency if timed else None
        x = candidate.integer_nodes if latency is None else latency.speed
        if x is not None:
            ends = None if latency is None else latency.interval
            loss, loss_ends = _loss(quality)
            outcome, share = _outcome(candidate), candidate.pruned
            points.append(PlottedCandidate(label, outcome, float(x), loss, ends, loss_ends, share))
    return tuple(points), timed


def _outcome(candidate: Candidate) -> Outcome:
    if candidate.shipped:
        return "shipped"
    return "refused" if candidate.accepted is False else "accepted"


def _loss(quality: QualityResult) -> tuple[float, Interval | None]:
    """The change for the worse, and its interval."""
    difference, ends = quality.difference or 0.0, quality.interval
    if not quality.higher_is_better:
        return difference, ends
    turned = None if ends is None else Interval(low=-ends.high, high=-ends.low, level=ends.level)
    return -difference, turned


def _loss_label(quality: QualityResult) -> str:
    name = quality.metric[:_LONGEST_NAME]
    unit = fmt.difference_unit(quality)[:_LONGEST_NAME]
    return f"loss of {name}" + (f", {unit}" if unit else "")


def _draw(
    axes: Any, points: Sequence[PlottedCandidate], allowed: float | None, labels: tuple[str, str]
) -> None:
    quiet, rule = COLOURS["quiet"], COLOURS["rule"]
    if allowed is not None:
        axes.axhline(allowed, color=quiet, linewidth=1, linestyle="--")
    curve = _curve(points)
    axes.plot([p.x for p in curve], [p.y for p in curve], color=rule, linewidth=1, zorder=0)
    for point in points:
        _draw_point(axes, point)
    # One candidate that was hard to time must not squeeze the others: its interval is cut off.
    low, high = min(p.x for p in points), max(p.x for p in points)
    aside = _ASIDE * (high - low or 1.0)
    axes.set_xlim(low - aside, high + aside)
    axes.margins(y=0.12)
    axes.spines["left"].set(visible=True, color=rule)
    axes.tick_params(axis="y", color=rule, labelcolor=quiet)
    # A metric may have any name, and a dollar is not the beginning of a formula.
    axes.set_xlabel(labels[0], color=quiet)
    axes.set_ylabel(labels[1], color=quiet, parse_math=False)


def _curve(points: Sequence[PlottedCandidate]) -> list[PlottedCandidate]:
    """The pruned ones by how much went of them, behind what of the whole graph was tried last."""
    pruned = sorted((p for p in points if p.pruned is not None), key=lambda p: p.pruned or 0.0)
    if not pruned:
        return []
    return [*[p for p in points if p.pruned is None][-1:], *pruned]


def _draw_point(axes: Any, point: PlottedCandidate) -> None:
    marker, colour, filling = _LOOKS[point.outcome]
    faint = {"color": colour, "linewidth": 1, "alpha": 0.4}
    if point.x_ends is not None:
        axes.hlines(point.y, point.x_ends.low, point.x_ends.high, **faint)
    if point.y_ends is not None:
        axes.vlines(point.x, point.y_ends.low, point.y_ends.high, **faint)
    style = {"color": colour, "markerfacecolor": filling, "markersize": 6}
    axes.plot([point.x], [point.y], marker, **style)
    if point.outcome not in ("float", "source"):
        # Neighbours are often all but in one place: above and below in turn.
        offset = (5, 4 if int(point.label) % 2 else -12)
        axes.annotate(
            point.label, (point.x, point.y), offset, textcoords="offset points", color=colour
        )


def _words(
    where: str, points: Sequence[PlottedCandidate], missing: int, allowed: float | None
) -> str:
    """What the lines are, and what is not drawn."""
    words = f"on {where}, with 95 % intervals"
    if allowed is not None:
        words += "; the dashed line is the loss allowed"
    if _curve(points):
        words += "; the thin line goes from the whole graph through the shares removed"
    if missing:
        words += f"; {fmt.plural(missing, 'candidate')} without these figures not drawn"
    return words
