"""`compress a.onnx b.pt --target ort,trt`: several models and targets, one after the other.

As in Make, the first failure ends it, unless `-k` lets the others run, but for other targets of the
same model: they ship all the same. A table at the end has a line each. The exit code is that of the
first failure.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rich.table import Table
from rich.text import Text

from compressor.errors import CompressorError, UsageError
from compressor.report.rows import latency_rows, quality_rows, size_rows
from compressor.report.spoken import harmless
from compressor.results.report import Report
from exporters.base.registry import require_target

Run = Callable[[str, str, Path | None], Report]
"""Compresses a model for a target into a folder; None for the default one."""


@dataclass(frozen=True)
class Ended:
    """What became of one run.

    Attributes:
        model: The model.
        target: The runtime.
        report: Its report; None where it failed.
        error: Why it failed.
    """

    model: str
    target: str
    report: Report | None = None
    error: CompressorError | None = None


def parted_targets(text: str | None) -> tuple[str, ...]:
    """The targets of `--target ort,trt`; none where the recipe says which.

    A mistyped name is told before the targets in front of it have taken their minutes.

    Raises:
        UsageError: One is named twice or unknown, or there is none between two commas.
    """
    names = () if text is None else tuple(text.split(","))
    if len(set(names)) < len(names) or not all(names):
        raise UsageError(f"--target {text}: expected names of targets, each once, as in ort,trt")
    for name in names:
        require_target(name)
    return names


def places(
    models: Sequence[str], targets: Sequence[str], output: Path | None
) -> Iterator[tuple[str, str, Path | None]]:
    """Model, target and output folder of every run.

    Raises:
        UsageError: Two runs would write the same folder.
    """
    seen: dict[Path, str] = {}
    for model, target in product(models, targets):
        path = Path(model)
        stem = path.name if path.is_dir() else path.stem
        base = path.parent if output is None else output
        folder = base / f"{stem}-{target}"
        if folder in seen:
            raise UsageError(
                f"{seen[folder]} and {model} would both be written to {folder}",
                hint="Run them one by one, each with its own -o.",
            )
        seen[folder] = model
        yield model, target, folder if output is not None else None


def require_there(models: Sequence[str]) -> None:
    """A mistyped name is told before the models in front of it have taken their minutes.

    Raises:
        UsageError: A model is neither a file, nor a folder, nor in the hub's cache.
    """
    from compressor.checkpoint.hub_cache import located  # noqa: PLC0415 - loads the runtime
    from compressor.checkpoint.torchvision_entry import entry_name  # noqa: PLC0415 - as above

    for model in models:
        if Path(model).exists() or entry_name(model) is not None:
            continue
        if located(model) == model:
            raise UsageError(
                f"there is no model {model}; nothing was run",
                hint="Several models may follow one another; what follows an option that takes no "
                "value is one, too. -k runs those that are there.",
            )


def each(
    runs: Sequence[tuple[str, str, Path | None]],
    run: Run,
    *,
    keep_going: bool,
    failed: Callable[[CompressorError], None],
) -> list[Ended]:
    """Run them in turn.

    Args:
        runs: Model, target and folder.
        run: Compresses one.
        keep_going: Whether others run after a failure.
        failed: Told of a failure at once.
    """
    ended: list[Ended] = []
    for model, target, folder in runs:
        if not keep_going and any(one.error and one.model != model for one in ended):
            break
        try:
            ended.append(Ended(model, target, run(model, target, folder)))
        except CompressorError as error:
            failed(error)
            ended.append(Ended(model, target, error=error))
    return ended


def table(ended: Sequence[Ended], asked: int) -> Table:
    """A line for each run."""
    found = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("model", "target", "ships", "speed", "quality", "size"):
        found.add_column(heading, overflow="fold")
    for one in ended:
        cells = ("failed", "", "", "") if one.report is None else _cells(one.report)
        style = "red" if one.report is None else ""
        words = (one.model, one.target, *cells)
        found.add_row(*(Text(harmless(word)) for word in words), style=style)
    if len(ended) < asked:
        found.caption = f"{asked - len(ended)} more were not run: -k runs them all the same"
    return found


def _cells(report: Report) -> tuple[str, str, str, str]:
    if len(report.graphs) > 1:
        return ", ".join(graph.shipped for graph in report.graphs.values()), "", "", ""
    graph = next(iter(report.graphs.values()))
    speed, quality, size = latency_rows(graph)[0], quality_rows(graph)[0], size_rows(graph)[0]
    judged = quality.reason or f"{quality.label} {quality.after}"
    return graph.shipped, speed.reason or speed.change, judged, size.change
