"""`compress check DIR`: whether a finished folder is whole, good and fast enough; for CI.

    compress check new --max-drop 1% --min-speedup 1.5x
    compress check new --against stored

Nothing is run: the figures are those of the reports. Speed-ups are compared, not times, as the two
may be of machines that differ; quality and size are compared as they are.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from compressor.errors import BudgetError, UsageError
from compressor.recipe.budget import Budget, parse_budget
from compressor.recipe.goal import ratio_of
from compressor.report.files import load_report
from compressor.results.format import ratio
from compressor.results.format import size as bytes_words
from compressor.results.measured import UNCHANGED, Measured
from compressor.results.measurements import QualityResult
from compressor.results.records import Record
from compressor.results.report import Report
from compressor.system.output_folder import broken_seals

SLACK = 0.1
"""Share by which a speed-up may fall behind a stored one: runs differ by as much."""
GROWTH = 0.02
"""Share by which a file may be larger than a stored one."""


class Checked(Record):
    """One thing that was held against a limit.

    Attributes:
        subject: What.
        met: Whether the limit was kept.
        said: The figure and the limit, in words.
    """

    subject: str
    met: bool
    said: str


class CheckResult(Record):
    """The outcome of a check.

    Attributes:
        directory: The folder.
        checks: What was looked at, in order.
    """

    directory: str
    checks: tuple[Checked, ...]

    @property
    def met(self) -> bool:
        """Whether all limits were kept."""
        return all(one.met for one in self.checks)

    @property
    def text(self) -> str:
        """A line each."""
        return "\n".join(
            f"{'ok  ' if one.met else 'FAIL'} {one.subject}: {one.said}" for one in self.checks
        )


def check(
    directory: str | Path,
    *,
    max_drop: str | None = None,
    min_speedup: str | None = None,
    against: str | Path | None = None,
) -> CheckResult:
    """Hold a finished folder against limits, and against a stored one.

    Args:
        directory: What `compress` wrote.
        max_drop: Quality that it may lose: `1%` of the original's value, or `0.5pt` in the metric's
            unit; of the stored one's with `against`.
        min_speedup: How much faster than the float baseline it has to be: `1.5x`;
            `1x` is no slower.
        against: A folder that it must not fall behind.

    Raises:
        UsageError: There is no report, or a limit cannot be read.
        OutputError: The folder has no manifest of ours, or it is damaged.
    """
    report = load_report(directory)
    budget = None if max_drop is None else parse_budget(max_drop)
    least = None if min_speedup is None else _least(min_speedup)
    stored = None if against is None else load_report(against)
    found = [seals(Path(directory))]
    for name, one in _measured(report):
        before = None if stored is None else dict(_measured(stored)).get(name)
        if stored is not None and before is None:
            raise UsageError(
                f"{against} has no graph {name!r}, which {directory} has",
                hint="Give the folder of an earlier run of the same model.",
            )
        found += _of_one(name, one, before, budget, least)
    return CheckResult(directory=str(directory), checks=tuple(found))


def _least(text: str) -> float:
    least = ratio_of(text)
    if not least:
        raise UsageError(f"--min-speedup {text!r} is not understood", hint="Write 1.5x.")
    return least


def require_met(result: CheckResult) -> None:
    """Raise where a limit was not kept.

    Raises:
        BudgetError: Names the first.
    """
    failed = what_failed(result)
    if failed is not None:
        raise BudgetError(failed)


def what_failed(result: CheckResult) -> str | None:
    """The first check that was not met, and how many more; None where all were."""
    failed = [one for one in result.checks if not one.met]
    if not failed:
        return None
    more = f", and {len(failed) - 1} more" if failed[1:] else ""
    return f"{result.directory}: {failed[0].subject}: {failed[0].said}{more}"


def _measured(report: Report) -> list[tuple[str, Measured]]:
    """The whole of a pipeline, else each graph."""
    if report.pipeline is not None:
        return [(report.pipeline.name, report.pipeline)]
    return list(report.graphs.items())


def seals(folder: Path) -> Checked:
    """Whether every file is what the manifest says.

    Raises:
        OutputError: There is no manifest of ours, or it is damaged.
    """
    wrong, count = broken_seals(folder)
    said = f"{wrong[0]} is gone or was changed" if wrong else f"{count} files are as written"
    return Checked(subject="files", met=not wrong, said=said)


def _of_one(
    name: str,
    one: Measured,
    stored: Measured | None,
    budget: Budget | None,
    least: float | None,
) -> Iterator[Checked]:
    prefix = "" if name == "model" else f"{name}, "
    yield from _quality(prefix, one, stored, budget)
    yield from _speed(prefix, one, stored, least)
    if stored is not None:
        now, then = one.result_size.file_bytes, stored.result_size.file_bytes
        said = f"{bytes_words(now)}, stored {bytes_words(then)}"
        yield Checked(subject=f"{prefix}size", met=now <= then * (1 + GROWTH), said=said)


def _quality(
    prefix: str, one: Measured, stored: Measured | None, budget: Budget | None
) -> Iterator[Checked]:
    """What is lost against the original, or against what is stored."""
    if budget is None and stored is None:
        return
    told = one.quality[0] if one.quality else None
    if told is None or told.result is None:
        reason = one.quality_reason or "it was not measured"
        yield Checked(subject=f"{prefix}quality", met=False, said=f"not known: {reason}")
        return
    base, what = told.baseline, "the original's"
    if stored is not None:
        then = _same(told, stored)
        if then is None:
            said = f"the stored report has no {told.metric}"
            yield Checked(subject=f"{prefix}quality", met=False, said=said)
            return
        base, what = then.result, "stored"
    if base is None:
        return
    allowed = 0.0 if budget is None else budget.allowed(base, told.metric)
    loss = (base - told.result) * (1 if told.higher_is_better else -1)
    limit = "" if budget is None else f", {budget.asked} allows {allowed:.4g}"
    said = f"{told.result:.6g}{told.unit}, {what} {base:.6g}{told.unit}{limit}"
    rounding = 1e-9 * max(1.0, abs(base))
    met = math.isfinite(loss) and loss <= allowed + rounding
    yield Checked(subject=f"{prefix}{told.metric}", met=met, said=said)


def _same(told: QualityResult, stored: Measured) -> QualityResult | None:
    return next((one for one in stored.quality if one.metric == told.metric), None)


def _speed(
    prefix: str, one: Measured, stored: Measured | None, least: float | None
) -> Iterator[Checked]:
    now = _speed_up(one)
    if least is None and stored is None:
        return
    if now is None:
        reason = one.latency_reason or "it was not measured"
        yield Checked(subject=f"{prefix}speed-up", met=False, said=f"not known: {reason}")
        return
    if least is not None:
        said = f"{ratio(now)}, at least {ratio(least)} is asked for"
        yield Checked(subject=f"{prefix}speed-up", met=now >= least, said=said)
    then = None if stored is None else _speed_up(stored)
    if then is not None:
        said = f"{ratio(now)}, stored {ratio(then)}"
        met = now >= then * (1 - SLACK)
        yield Checked(subject=f"{prefix}speed-up against the stored", met=met, said=said)


def _speed_up(one: Measured) -> float | None:
    """In the deciding configuration; None where it is not known."""
    if one.latency and one.latency[0].is_known:
        return one.latency[0].speed
    return 1.0 if one.latency_reason == UNCHANGED else None
