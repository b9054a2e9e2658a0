"""Stages as they run, on a terminal.

There is no thread that redraws: it would take its share of the time that is being measured. A
stage appears when it begins and moves when it advances.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.progress_bar import ProgressBar
from rich.text import Text

from compressor.report.spoken import harmless
from compressor.results import format as fmt
from compressor.system.progress import Advance
from compressor.system.stopwatch import Stopwatch

SHORTEST_TOLD = 1.0
"""Seconds from which a finished stage leaves a line behind."""

BETWEEN_LINES = 30.0
"""Seconds of silence after which a log, which shows no bars, is told how far the stages are."""

_SHORTEST_REDRAW = 0.1


class RichProgress:
    """A `compressor.system.progress.Progress` on a rich console.

    On a terminal the open stages are shown with their bars and the time that is left, and go when
    they end. A log gets a line of how far they are when nothing was said for `BETWEEN_LINES`.
    Everywhere, each stage that took `SHORTEST_TOLD` leaves a line with its time.

    Args:
        console: Where to show; a command line passes one on the standard error stream.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = 0
        self._drawn: Stopwatch | None = None
        self._said = Stopwatch()
        self._bars = Bars(
            TextColumn("{task.description}", markup=False),
            _Bar(bar_width=28),
            _Count(),
            _Left(),
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            disable=not console.is_terminal,
        )

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Show one stage while the context lasts; see `Progress.stage`."""
        watch = Stopwatch()
        task = self._begin(name, total)

        def advance(units: int) -> None:
            self._bars.advance(task, units)
            if self._console.is_terminal:
                self._redraw()
            elif self._said.seconds >= BETWEEN_LINES and (stand := self._stand()):
                self._line(stand, "dim")

        try:
            yield advance
        finally:
            self._end(task)
        seconds = watch.seconds
        if seconds >= SHORTEST_TOLD:
            self._line(f"{name}: {fmt.seconds(seconds)}", "dim")

    def notice(self, text: str) -> None:
        """Leave a line."""
        self._line(f"* {fmt.sentence(text)}", "yellow")

    def say(self, text: str) -> None:
        """Leave a line that asks nothing of anybody."""
        self._line(fmt.sentence(text), "dim")

    def _line(self, text: str, style: str) -> None:
        self._console.print(Text(harmless(text), style=style))
        self._said = Stopwatch()

    def _stand(self) -> str:
        """`block by block 12/57, 20 min 10 s left, calibrate 3/8`: the outermost stage first.

        What is done says so itself as it ends.
        """
        told = []
        for task in (one for one in self._bars.tasks if not one.finished):
            count, left = _count(task), _left(task)
            told += [f"{task.description} {count}", left] if count else []
        return ", ".join(filter(None, told))

    def _begin(self, name: str, total: int | None) -> TaskID:
        if self._open == 0:
            self._bars.start()
            self._said = Stopwatch()
        self._open += 1
        task = self._bars.add_task(name, total=total)
        self._bars.refresh()
        return task

    def _end(self, task: TaskID) -> None:
        self._bars.remove_task(task)
        self._open -= 1
        if self._open == 0:
            self._bars.stop()
        else:
            self._bars.refresh()

    def _redraw(self) -> None:
        if self._drawn is None or self._drawn.seconds >= _SHORTEST_REDRAW:
            self._drawn = Stopwatch()
            self._bars.refresh()


class _Bar(BarColumn):
    """Nothing where the total is not known: a bar at rest looks like one that is full."""

    def render(self, task: Task) -> ProgressBar:
        """The bar of one task."""
        bar = super().render(task)
        if task.total is None:
            bar.width = 0
        return bar


class _Count(ProgressColumn):
    """How many units are done."""

    def render(self, task: Task) -> Text:
        """See `_count`."""
        return Text(_count(task), style="dim")


class _Left(ProgressColumn):
    """How long a stage will take, once it is known how long a unit takes."""

    def render(self, task: Task) -> Text:
        """See `_left`."""
        return Text(_left(task), style="dim")


def _count(task: Task) -> str:
    """`128/512`, and nothing where the total is not known."""
    return "" if task.total is None else f"{task.completed:,.0f}/{task.total:,.0f}"


def _left(task: Task) -> str:
    """`12 s left`, if the units that are left take as long as those that are done."""
    if task.total is None or not task.completed or task.elapsed is None:
        return ""
    left = task.elapsed * (task.total - task.completed) / task.completed
    return f"{fmt.seconds(left)} left"
