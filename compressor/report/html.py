"""The report as one HTML page: no script, no network, nothing but the `Report` behind it.

The page is laid out by `template.html` and `style.css`; here is what they are filled with. A new
section is a macro of the template and, where it needs more than the report's own fields, a field
of `GraphView`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from compressor.report import plots
from compressor.report.attended import AttentionView, attention_view
from compressor.report.changed import change_words, decision, error_words
from compressor.report.conditions import busy_words, source_words
from compressor.report.exited import ExitsView, exits_view
from compressor.report.frontier import FrontierPlot, frontier
from compressor.report.layers import LayersView, layers_view
from compressor.report.pipeline import graph_rows, loop_rows, pipeline_headline
from compressor.report.pruned import SHOWN, PrunedView, goal_tone, goal_words, pruned_view
from compressor.report.regions import SHOWN as SHOWN_REGIONS
from compressor.report.regions import RegionRow, region_rows
from compressor.report.rows import (
    Row,
    latency_row,
    memory_row,
    output_rows,
    quality_rows,
    size_rows,
)
from compressor.report.spoken import without_controls
from compressor.report.stages import waterfall
from compressor.report.trained import TrainedView, trained_view
from compressor.report.usage import use_code
from compressor.report.verdict import (
    Tone,
    budget_tone,
    budget_words,
    engine_words,
    headline,
    losses,
    reused_words,
    shipped_name,
    speed_tone,
)
from compressor.results import format as fmt
from compressor.results.graph_report import GraphReport
from compressor.results.measurements import LatencyResult
from compressor.results.pipeline import GeneratedUnit, PipelineResult, UnitCluster
from compressor.results.report import Report
from compressor.system.sparing import spared, unfinished

SHOWN_NOTICES, SHOWN_REASONS, SHOWN_OUTPUTS = 3, 6, 8
"""How many notices, reasons and figures of outputs stand open; the rest is folded away below."""

T = TypeVar("T")
E = TypeVar("E")


@dataclass(frozen=True)
class Picture:
    """A latency distribution and what its caption tells."""

    svg: Markup
    latency: LatencyResult
    beyond: int


@dataclass(frozen=True)
class GraphView:
    """A graph as the template shows it; `anchor` is safe in an id whatever the name."""

    name: str
    anchor: str
    graph: GraphReport
    headline: str
    engine: str
    budget: str
    budget_tone: Tone
    goal: str
    goal_tone: Tone
    losses: tuple[str, ...]
    quality: tuple[Row, ...]
    sizes: tuple[Row, ...]
    memory: Row
    ratios: Markup | None
    ratios_cut: bool
    distributions: tuple[Picture, ...]
    float_reasons: dict[str, tuple[str, ...]]
    regions: tuple[RegionRow, ...]
    layers: LayersView | None
    frontier: FrontierPlot | None
    pruned: PrunedView | None
    trained: TrainedView | None
    trained_integers: TrainedView | None
    attention: AttentionView | None
    exits: ExitsView | None

    @property
    def is_told(self) -> bool:
        """Whether there is anything to tell of what was done to the graph."""
        trained = self.trained or self.trained_integers or self.attention or self.exits
        told = (self.pruned, trained, self.layers, self.graph.placement, self.float_reasons)
        return any(told)

    @property
    def level(self) -> str:
        """Level of the speed-ups' intervals, in words."""
        ends = (latency.interval for latency in self.graph.latency)
        return next((fmt.level(one) for one in ends if one is not None), "Interval")

    @property
    def speed(self) -> Row | None:
        """The deciding configuration, the first of the report."""
        return latency_row(self.graph.latency[0]) if self.graph.latency else None


def render_html(report: Report, failures: list[str] | None = None) -> str:
    """The whole page.

    The same report gives the same page, also when read back from `report.json`. Names out of the
    model are escaped wherever they appear.

    Args:
        report: What it shows.
        failures: Gets a notice for each chart that could not be drawn; the page then lacks it.
    """
    charts = _Charts([] if failures is None else failures)
    return (
        page_environment()
        .get_template("template.html")
        .render(
            report=report,
            title=_title(report),
            loop_view=None if report.pipeline is None else _loop(report.pipeline),
            views=[
                _view(index, name, graph, charts)
                for index, (name, graph) in enumerate(report.graphs.items(), start=1)
            ],
            bars=charts.drawn("stages", lambda: waterfall(report), ()),
            use=charts.drawn("use", lambda: use_code(report), ""),
            reused=reused_words(report),
        )
    )


@cache
def page_environment() -> Environment:
    """What pages are rendered with: names out of models are escaped."""
    environment = Environment(
        loader=PackageLoader("compressor.report", package_path="."),
        autoescape=True,
        finalize=_spelled,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = _unbroken
    environment.filters["sentence"] = fmt.sentence
    environment.filters["begun"] = fmt.begun
    environment.globals["fmt"] = fmt
    environment.globals["speed_tone"] = speed_tone
    environment.globals["latency_row"] = latency_row
    environment.globals["busy_words"] = busy_words
    environment.globals["source_words"] = source_words
    environment.globals["change_words"] = change_words
    environment.globals["decision"] = decision
    environment.globals["error_words"] = error_words
    environment.globals["shown_rows"] = SHOWN
    environment.globals["shown_regions"] = SHOWN_REGIONS
    environment.globals["shown_notices"] = SHOWN_NOTICES
    environment.globals["shown_reasons"] = SHOWN_REASONS
    environment.globals["shown_outputs"] = SHOWN_OUTPUTS
    environment.globals["nothing"] = fmt.NOTHING
    return environment


def _spelled(value: Any) -> Any:
    """A value without control characters: HTML has no escapes for them, and terminals obey them."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return without_controls(value)
    return value


def _unbroken(text: str) -> str:
    """Keep a number and its unit on one line, and the two ends of an interval."""
    text = re.sub(r"([…–])", "\N{WORD JOINER}\\1\N{WORD JOINER}", text)
    return re.sub(r"(?<=\d) (?=[^\W\d]|%)", "\N{NO-BREAK SPACE}", text)


def _title(report: Report) -> str:
    """Source and outcome, short enough for a tab."""
    outcomes = ", ".join(shipped_name(graph) for graph in report.graphs.values())
    return f"{report.source}: {outcomes} for {report.target}"


@dataclass(frozen=True)
class LoopView:
    """The pipeline, as the page shows it."""

    headline: str
    budget: str
    budget_tone: Tone
    goal: str
    goal_tone: Tone
    rows: tuple[Row, ...]
    graphs: tuple[tuple[str, str, str, str], ...]
    busy: tuple[str, ...]
    worst: tuple[GeneratedUnit, ...]
    clusters: tuple[UnitCluster, ...]

    @property
    def first(self) -> tuple[Row, ...]:
        """Four cards: its speed, its quality, its size, and of its calls what is timed last."""
        kinds = [
            [row for row in self.rows if row.kind == k] for k in ("latency", "quality", "size")
        ]
        rates = kinds[0][1:][-1:]
        return (*(rows[0] for rows in kinds if rows), *rates)


def _loop(pipeline: PipelineResult) -> LoopView:
    return LoopView(
        pipeline_headline(pipeline),
        budget_words(pipeline),
        budget_tone(pipeline),
        goal_words(pipeline),
        goal_tone(pipeline),
        tuple(row for row in loop_rows(pipeline) if not row.is_missing),
        tuple(graph_rows(pipeline)),
        busy_words(pipeline),
        pipeline.worst,
        pipeline.clusters,
    )


@dataclass(frozen=True)
class _Charts:
    """Draws what can be drawn: a page without one of its charts is better than none."""

    failures: list[str]

    def drawn(self, what: str, draw: Callable[[], T], instead: E) -> T | E:
        """A chart or table, or what the template takes for none."""

        def missing(reason: str) -> E:
            self.failures.append(unfinished(f"report.html: {what}", reason))
            return instead

        return spared(draw, missing)


def _view(index: int, name: str, graph: GraphReport, charts: _Charts) -> GraphView:
    anchor = f"graph-{index}"
    ratios = charts.drawn("speed", lambda: _ratios(graph, anchor), (None, False))
    return GraphView(
        name=name,
        anchor=anchor,
        graph=graph,
        headline=headline(graph),
        engine=engine_words(graph),
        budget=budget_words(graph),
        budget_tone=budget_tone(graph),
        goal=goal_words(graph),
        goal_tone=goal_tone(graph),
        losses=losses(graph),
        quality=(*quality_rows(graph), *output_rows(graph, all_states=True)),
        sizes=size_rows(graph),
        memory=memory_row(graph),
        ratios=ratios[0],
        ratios_cut=ratios[1],
        distributions=charts.drawn("latency", lambda: _distributions(graph, anchor), ()),
        float_reasons=_by_reason(graph.float_reasons),
        regions=charts.drawn("regions", lambda: region_rows(graph), ()),
        layers=charts.drawn("layers", lambda: layers_view(graph, anchor), None),
        frontier=charts.drawn("frontier", lambda: frontier(graph, f"{anchor}-frontier"), None),
        pruned=charts.drawn("pruning", lambda: pruned_view(graph), None),
        trained=charts.drawn(
            "training", lambda: trained_view(graph.training, f"{anchor}-training"), None
        ),
        trained_integers=charts.drawn(
            "training of integers",
            lambda: trained_view(graph.integer_training, f"{anchor}-integer-training"),
            None,
        ),
        attention=attention_view(graph),
        exits=exits_view(graph),
    )


def _ratios(graph: GraphReport, anchor: str) -> tuple[Markup | None, bool]:
    chart = None
    if len(graph.latency) > 1:
        chart = plots.speed_ratios(graph.latency, f"{anchor}-ratios")
    return chart, plots.cuts_ratios(graph.latency)


def _distributions(graph: GraphReport, anchor: str) -> tuple[Picture, ...]:
    pictures = (
        (plots.latency_distribution(latency, f"{anchor}-latency-{row}"), latency)
        for row, latency in enumerate(graph.latency)
    )
    return tuple(
        Picture(svg, latency, plots.beyond_axis(latency))
        for svg, latency in pictures
        if svg is not None
    )


def _by_reason(reasons: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Reason → the nodes it applies to, the commonest reason first."""
    grouped: dict[str, list[str]] = {}
    for node, reason in reasons.items():
        grouped.setdefault(reason, []).append(node)
    ordered = sorted(grouped.items(), key=lambda entry: -len(entry[1]))
    return {reason: tuple(nodes) for reason, nodes in ordered}
