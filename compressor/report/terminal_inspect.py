"""The groups of a model for the terminal: what is coupled, and what stays because of what."""

from collections.abc import Iterable, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.pruning.coupling.summary import FrozenSummary, GroupSummary, Inspection
from compressor.report.figures_table import figures_table
from compressor.report.spoken import Speak, Spoken
from compressor.results import format as fmt

_MOST_WEIGHTS = 3


def inspection_table(found: Inspection, top: int = 15) -> RenderableType:
    """Groups by falling share of the work, then what is frozen, worst first, `top` of each."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        yield Text(speak(_whole(found)), style="bold")
        if found.groups:
            yield Text("")
            yield _groups(found.groups[:top], speak)
            yield from _rest(len(found.groups) - top, "more group", speak)
        if found.frozen:
            yield Text("")
            yield _frozen(found.frozen[:top], speak)
            yield from _rest(len(found.frozen) - top, "more cause", speak)
        for operator in found.unknown:
            yield Text(speak(f"No rule for {operator}: what it touches stays."), style="yellow")

    return Spoken(build)


def _whole(found: Inspection) -> str:
    return (
        f"{found.source}: {fmt.plural(len(found.groups), 'group')}, "
        f"{fmt.percent(found.prunable, 1)} of {fmt.count(found.parameters)} parameters in them"
    )


def _groups(groups: Sequence[GroupSummary], speak: Speak) -> Table:
    table = figures_table("group", "units", "MACs", "params")
    table.add_column("weights that shrink together", overflow="fold")
    for group in groups:
        cells = (
            group.name,
            str(group.units),
            fmt.percent(group.macs, 1),
            fmt.percent(group.parameters, 1),
            _listed(group.weights),
        )
        table.add_row(*(Text(speak(cell)) for cell in cells))
    return table


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_WEIGHTS
    shown = ", ".join(names[:_MOST_WEIGHTS])
    return f"{shown} and {more} more" if more > 0 else shown


def _frozen(rows: Sequence[FrozenSummary], speak: Speak) -> Table:
    table = figures_table("what stays because of", "axes", "params")
    table.add_column("reason", overflow="fold")
    for row in rows:
        where = row.node if row.operator is None else f"{row.node} ({row.operator})"
        cells = (where, str(row.axes), fmt.count(row.parameters), row.reason)
        table.add_row(*(Text(speak(cell)) for cell in cells))
    return table


def _rest(count: int, noun: str, speak: Speak) -> Iterable[RenderableType]:
    if count > 0:
        yield Text(speak(fmt.plural(count, noun)), style="dim")
