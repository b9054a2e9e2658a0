"""A front, for the terminal."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.report.front_rows import HEADINGS, front_rows, headline, summary_lines
from compressor.report.spoken import Speak, Spoken
from compressor.results.front import SearchReport


def front_table(report: SearchReport) -> RenderableType:
    """The points of the front, and what they are of."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        yield Text(speak(headline(report)), style="bold")
        yield Text("")
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("trial", justify="right")
        for name in report.objectives:
            table.add_column(HEADINGS[name], justify="right")
        table.add_column("recipe", overflow="fold")
        for row in front_rows(report):
            recipe = f"{row.recipe} ({row.note})" if row.note else row.recipe
            cells = (str(row.number), *row.cells, recipe)
            table.add_row(*(Text(speak(cell)) for cell in cells), style="dim" if row.note else "")
        yield table
        yield Text("")
        for line in summary_lines(report):
            yield Text(speak(line))

    return Spoken(build)
