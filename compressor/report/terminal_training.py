"""A training for the terminal: what it came to, and its curve."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.report.spoken import Speak, Spoken, one_line
from compressor.report.trained import headline, how
from compressor.results import format as fmt
from compressor.results.training import CurvePoint, TrainingReport, TrainingResult


def training_table(report: TrainingReport) -> RenderableType:
    """What became of it, how it was done, and the losses at each look."""

    def build(speak: Speak) -> Iterable[RenderableType]:
        yield Text(speak(one_line(headline(report.training))), style="bold", overflow="fold")
        yield Text(speak(one_line(how(report.training))), overflow="fold")
        if report.training.curve:
            yield Text("")
            yield curve_table(report.training, speak)
            yield Text("")
        yield Text(speak(f"model     {report.file}"), overflow="fold")

    return Spoken(build)


def curve_table(result: TrainingResult, speak: Speak) -> Table:
    """Losses and rate at each look."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("step", "loss", "held out", "rate", "time"):
        table.add_column(heading, justify="right")
    for point in result.curve:
        best = point.step == result.best
        table.add_row(*_row(point), speak(fmt.seconds(point.seconds)), style="bold" if best else "")
    return table


def _row(point: CurvePoint) -> tuple[str, ...]:
    losses = ("" if x is None else f"{x:.4g}" for x in (point.loss, point.held_out))
    return f"{point.step:,}", *losses, f"{point.rate:.2g}"
