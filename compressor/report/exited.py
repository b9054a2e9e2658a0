"""What early exits came to, in words, for every form the report is shown in."""

from dataclasses import dataclass

from compressor.results import format as fmt
from compressor.results.exits import ExitFigure, ExitsResult
from compressor.results.graph_report import GraphReport


@dataclass(frozen=True)
class ExitsView:
    """The section on early exits."""

    headline: str
    how: str
    places: tuple[tuple[str, ...], ...]


def exits_view(graph: GraphReport) -> ExitsView | None:
    """The section of one graph; None where no exits were asked for."""
    found = graph.exits
    if found is None:
        return None
    return ExitsView(headline(found), how(found), tuple(map(_row, found.places)))


def headline(result: ExitsResult) -> str:
    """What became of them, as a sentence."""
    count = sum(one.threshold is not None for one in result.places)
    verdict = fmt.plural(count, "early exit") if result.kept else "No early exits"
    return f"{verdict}: {result.reason}."


def how(result: ExitsResult) -> str:
    """What was done, as a sentence; empty where nothing was."""
    said = []
    if result.trained:
        said.append(f"Heads were trained on {fmt.plural(result.trained, 'sample')}")
    if result.latency is not None and result.latency.is_known:
        before, after = result.latency.milliseconds
        said.append(
            f"the mean of {fmt.plural(result.timed, 'inference')} is {after:.3g} ms with exits and "
            f"{before:.3g} ms without"
        )
    return f"{'; '.join(said)}." if said else ""


def _row(one: ExitFigure) -> tuple[str, ...]:
    """Place, depth, threshold, who leaves, and how many of them as the whole graph, or rightly."""
    return (
        one.value,
        fmt.percent(one.depth),
        "" if one.threshold is None else f"{one.threshold:.3f}",
        *("" if x is None else fmt.percent(x, 1) for x in (one.left, one.agreement, one.accuracy)),
    )
