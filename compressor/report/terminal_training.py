"""A training for the terminal: what it came to, and its curve."""

from collections.abc import Iterable

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from compressor.report.spoken import Speak, Spoken, one_line
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


def headline(result: TrainingResult) -> str:
    """What became of it, as a sentence."""
    verdict = "Trained" if result.kept else "Not trained: the weights are as before"
    return f"{verdict}: {result.reason}."


def how(result: TrainingResult) -> str:
    """What was done, as a sentence."""
    if not result.done:
        return f"Asked for: {result.asked}, of {fmt.plural(result.samples, 'sample')}."
    ways = {"distill": "the original's answers", "labels": "the original's answers and labels"}
    return (
        f"{result.done:,} of {fmt.plural(result.steps, 'step')} of {result.batch} samples in "
        f"{fmt.seconds(result.seconds)} ({fmt.seconds(result.cpu_seconds)} of processor time), "
        f"{result.optimizer} up to {result.rate:.2g}, {result.parameters:,} parameters, from "
        f"{ways.get(result.mode, 'a loss of the user')} on {fmt.plural(result.samples, 'sample')}; "
        f"{fmt.plural(result.held_out, 'sample')} held out chose step {result.best:,}."
    )


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
