"""`compress report A B C`: finished runs side by side, and which of them are on the front.

A run is on the front where no other is at least as good in speed-up, quality and size, and better
in one of them. Runs are compared in quality only where they measured the same metric.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from compressor.errors import UsageError
from compressor.report.spoken import harmless
from compressor.results import format as fmt
from compressor.results.measured import Measured
from compressor.results.measurements import LatencyResult, QualityResult
from compressor.results.records import Record
from compressor.results.report import Report


@dataclass(frozen=True)
class _Figures:
    """What runs are compared by."""

    speed: float | None
    quality: QualityResult | None
    size: int


class ComparedRun(Record):
    """One of the runs.

    Attributes:
        name: Its folder.
        ships: What the artifact holds.
        speedup: Over its own float baseline; None where it was not measured.
        latency_ms: Of the result, on the machine that measured it.
        metric: Of the quality.
        quality: Of the result.
        drop: What it lost against its original, in the metric's unit.
        bytes: Size of the artifact.
        front: Whether no other run is better in all.
    """

    name: str
    ships: str
    speedup: float | None
    latency_ms: float | None
    metric: str | None
    quality: float | None
    drop: float | None
    bytes: int
    front: bool


class ComparedRuns(Record):
    """Runs side by side."""

    runs: tuple[ComparedRun, ...]


def compared(reports: Mapping[str, Report]) -> ComparedRuns:
    """Put finished runs side by side.

    Args:
        reports: Folder → report.

    Raises:
        UsageError: There are fewer than two.
    """
    if len(reports) < 2:
        raise UsageError("expected two runs or more", hint="Name their folders: A B C.")
    figures = {name: _figures(_measured(report)) for name, report in reports.items()}
    runs = []
    for name, report in reports.items():
        own = figures[name]
        deciding = _deciding(_measured(report))
        told = own.quality
        runs.append(
            ComparedRun(
                name=name,
                ships=", ".join(dict.fromkeys(one.shipped for one in report.graphs.values())),
                speedup=own.speed,
                latency_ms=None if deciding is None else deciding.milliseconds[1],
                metric=None if told is None else told.metric,
                quality=None if told is None else told.result,
                drop=_drop(told),
                bytes=own.size,
                front=not any(
                    _dominates(other, own) for key, other in figures.items() if key != name
                ),
            )
        )
    return ComparedRuns(runs=tuple(runs))


def compared_table(found: ComparedRuns) -> Table:
    """The runs as a table, those of the front in bold."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("run", "ships", "speed-up", "latency", "quality", "loss", "size", "front"):
        table.add_column(heading, overflow="fold", justify="left" if heading == "run" else "right")
    for one in found.runs:
        cells = (
            Path(one.name).name or one.name,
            one.ships,
            fmt.NOTHING if one.speedup is None else fmt.ratio(one.speedup),
            fmt.NOTHING if one.latency_ms is None else f"{one.latency_ms:.3g} ms",
            fmt.NOTHING if one.quality is None else f"{one.metric} {one.quality:.4g}",
            fmt.NOTHING if one.drop is None else f"{one.drop:.3g}",
            fmt.size(one.bytes),
            "✓" if one.front else "",
        )
        style = "bold" if one.front else None
        table.add_row(*(Text(harmless(cell)) for cell in cells), style=style)
    return table


def _measured(report: Report) -> Measured:
    return report.pipeline or next(iter(report.graphs.values()))


def _figures(one: Measured) -> _Figures:
    deciding = _deciding(one)
    told = one.quality[0] if one.quality and one.quality[0].result is not None else None
    speed = None if deciding is None else deciding.speed
    return _Figures(speed, told, one.result_size.file_bytes)


def _deciding(one: Measured) -> LatencyResult | None:
    return one.latency[0] if one.latency and one.latency[0].is_known else None


def _drop(told: QualityResult | None) -> float | None:
    if told is None or told.result is None or told.baseline is None:
        return None
    return (told.baseline - told.result) * (1 if told.higher_is_better else -1)


def _dominates(one: _Figures, other: _Figures) -> bool:
    """Whether one run is nowhere worse than another, and better somewhere; unknown is no better."""
    pairs: list[tuple[float, float]] = [(-one.size, -other.size)]
    if other.speed is not None:
        pairs.append((float("-inf") if one.speed is None else one.speed, other.speed))
    if other.quality is not None and other.quality.result is not None:
        if one.quality is None or one.quality.metric != other.quality.metric:
            return False
        sign = 1 if other.quality.higher_is_better else -1
        result = one.quality.result
        assert result is not None, "those without are left out"
        pairs.append((sign * result, sign * other.quality.result))
    return _nowhere_worse(pairs)


def _nowhere_worse(pairs: Sequence[tuple[float, float]]) -> bool:
    return all(one >= other for one, other in pairs) and any(one > other for one, other in pairs)
