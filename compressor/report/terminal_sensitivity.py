"""Regions and what each precision costs, for the terminal."""

from collections.abc import Iterable
from typing import get_args

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.report.regions import name_of, short, worst
from compressor.report.spoken import Speak, Spoken
from compressor.results import format as fmt
from compressor.results.regions import (
    FrontierPoint,
    RegionPrecision,
    Sensitivity,
)


def sensitivity_table(found: Sensitivity, top: int = 15) -> RenderableType:
    """Regions by falling damage, `top` of them, and the predicted frontier."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        yield Text(speak(_whole(found)), style="bold")
        yield Text("")
        yield _regions(found, top, speak)
        more = len(found.regions) - top
        if more > 0:
            yield Text(speak(f"{fmt.plural(more, 'more region')}: --top, --json"), style="dim")
        yield Text("")
        yield Text(speak("Fastest choices by damage, predicted:"))
        yield _frontier(found.frontier, speak)

    return Spoken(build)


def _whole(found: Sensitivity) -> str:
    return (
        f"{found.source}: {fmt.plural(len(found.regions), 'region')}, {found.float_ms:.3g} ms in "
        f"float at batch {found.batch}; outputs on {fmt.plural(found.samples, 'held-out sample')}"
    )


def _regions(found: Sensitivity, top: int, speak: Speak) -> Table:
    names = [
        name
        for name in get_args(RegionPrecision)
        if any(choice.precision == name for region in found.regions for choice in region.choices)
    ]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("region", overflow="fold")
    for name in names:
        table.add_column(f"{short(name)} µs", justify="right")
    for name in names[1:]:
        table.add_column(f"{short(name)} SNR", justify="right")
    table.add_column("fastest")
    for region in sorted(found.regions, key=worst, reverse=True)[:top]:
        known = {str(choice.precision): choice for choice in region.choices}
        cells = [name_of(region)]
        for name in names:
            ms = known[name].ms if name in known else None
            cells.append(fmt.NOTHING if ms is None else f"{1e3 * ms:.1f}")
        for name in names[1:]:
            cells.append(fmt.decibels_of_noise(known[name].noise if name in known else None))
        table.add_row(*(Text(speak(cell)) for cell in (*cells, short(region.chosen))))
    return table


def _frontier(points: Iterable[FrontierPoint], speak: Speak) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("SNR", "speed", "ms"):
        table.add_column(heading, justify="right")
    table.add_column("weighted nodes")
    for point in points:
        chosen = ", ".join(f"{count} {name}" for name, count in point.chosen.items())
        cells = (
            fmt.decibels_of_noise(point.noise),
            fmt.ratio(point.ratio),
            f"{point.ms:.3g}",
            chosen,
        )
        table.add_row(*(Text(speak(cell)) for cell in cells))
    return table
