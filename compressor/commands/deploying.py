"""Several targets of one model: their artifacts raced, and which to deploy.

A runtime's idle threads spin for tens of milliseconds on the cores that another one needs. So the
runtimes work in blocks apart: each turn is spent untimed until those threads are at rest
(`evaluation.rounds`), with the same threads, feeds and rounds for both, and either goes first as
often. Artifacts that kept no budget are not raced against those that did.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.checkpoint.prepare import prepare
from compressor.checkpoint.prepared import Prepared
from compressor.errors import CompressorError
from compressor.evaluation.racing import race
from compressor.recipe.loading import ModelOptions
from compressor.recipe.recipe import Recipe
from compressor.report.files import restated
from compressor.results.deployment import Deployment, TargetRace
from compressor.results.format import configuration, ratio, ratio_interval
from compressor.results.measurements import LatencyConfig, LatencyResult
from compressor.results.report import Report
from compressor.search.measure import configurations
from compressor.system.progress import SILENT, Progress
from exporters.base import Target, find_target

AGAIN = 2
"""How often a race is taken up again where its interval decides nothing."""


@dataclass(frozen=True)
class Entry:
    """An artifact that may be deployed.

    Attributes:
        target: Its runtime.
        model: Its file.
        report: Of its run.
    """

    target: Target
    model: Path
    report: Report

    @classmethod
    def of(cls, report: Report) -> "Entry | None":
        """What a report tells of; None for several graphs, which are no one file."""
        if len(report.graphs) != 1 or "model" not in report.files:
            return None
        return cls(find_target(report.target), Path(report.files["model"]), report)

    @property
    def why_not_raced(self) -> str | None:
        """Why it does not take part; None where it does."""
        graph = next(iter(self.report.graphs.values()))
        reason = self.target.why_not_measurable()
        if reason is not None:
            return f"{self.target.name} cannot be timed here: {reason}"
        if graph.budget is not None and not graph.budget.met:
            return f"{self.target.name} did not keep {graph.budget.asked}"
        if graph.engine is not None:
            return f"{self.target.name} is an engine for a GPU, and no rival on the CPU"
        return None


def deployment_of(
    reports: Sequence[Report],
    failed: Sequence[str],
    recipe: Recipe,
    progress: Progress = SILENT,
) -> Deployment | None:
    """`decided`; where the race itself fails, that is said: the artifacts are there without it."""
    try:
        return decided(reports, failed, recipe, progress)
    except CompressorError as error:
        return Deployment(target=None, reason=f"the targets could not be raced: {error.message}")


def decided(
    reports: Sequence[Report],
    failed: Sequence[str],
    recipe: Recipe,
    progress: Progress = SILENT,
) -> Deployment | None:
    """Race the artifacts of one model.

    Args:
        reports: Of each target, in the order in which they were named.
        failed: Targets that came to nothing.
        recipe: What all of them were made by: data, batch, threads, time.
        progress: Where it is shown.

    Returns:
        Which to deploy; None where nothing can be said, as fewer than two can be timed and none
        failed.
    """
    entries = [entry for report in reports if (entry := Entry.of(report)) is not None]
    left_out = tuple(why for one in entries if (why := one.why_not_raced) is not None)
    able = [one for one in entries if one.why_not_raced is None]
    lost = tuple(f"{name} failed" for name in failed)
    if len(able) < 2:
        return _alone(able, entries, (*lost, *left_out), any_failed=bool(lost))
    best: Entry = able[0]
    races: list[TargetRace] = []
    with progress.stage("race the targets", total=len(able) - 1) as advance:
        prepared = _prepared(able, recipe)
        config = configurations(recipe, prepared)[0]
        for rival in able[1:]:
            found = raced(best, rival, prepared, config, recipe)
            races.append(
                TargetRace(baseline=best.target.name, result=rival.target.name, latency=found)
            )
            best = rival if found.is_known and found.verdict == "faster" else best
            advance(1)
    reason = "; ".join((*map(_told, races), *lost, *left_out))
    return Deployment(target=best.target.name, races=tuple(races), reason=reason)


def raced(
    one: Entry, other: Entry, prepared: Prepared, config: LatencyConfig, recipe: Recipe
) -> LatencyResult:
    """Two artifacts in turn, each by its own runtime, in the deciding configuration.

    Args:
        one: The first.
        other: The second.
        prepared: Tells the feeds.
        config: Batch and threads.
        recipe: How long, and the seed.
    """
    return race(
        lambda: one.target.open(one.model, threads=config.threads),
        lambda: other.target.open(other.model, threads=config.threads),
        prepared.timed(config, recipe.seed),
        config,
        deciding=True,
        seconds=recipe.measure.seconds,
        again=AGAIN,
    )


def with_deployment(reports: Sequence[Report], deployment: Deployment) -> list[Report]:
    """The reports with which to deploy, in their folders, too."""
    return [restated(report, deployment) for report in reports]


def _alone(
    able: Sequence[Entry], entries: Sequence[Entry], others: tuple[str, ...], *, any_failed: bool
) -> Deployment | None:
    """What is left to deploy where there is nothing to race."""
    refused = len(able) < len([one for one in entries if one.target.why_not_measurable() is None])
    if not able or not (any_failed or refused):
        return None
    return Deployment(
        target=able[0].target.name, reason=f"it is the only one left: {'; '.join(others)}"
    )


def _prepared(entries: Sequence[Entry], recipe: Recipe) -> Prepared:
    """The inputs of a graph that one of them has as ONNX, and the data for them.

    Raises:
        CompressorError: It cannot be read.
    """
    files = [Path(one.report.files.get("onnx", one.model)) for one in entries]
    path = next(path for path in files if path.suffix == ".onnx")
    data = recipe.data
    return prepare(
        path,
        target=entries[0].target,
        recipe=recipe.model_copy(update={"model": ModelOptions()}),
        calibration=data.calib,
        evaluation=data.eval,
        progress=SILENT,
    )


def _told(one: TargetRace) -> str:
    latency = one.latency
    if not latency.is_known:
        return f"{one.result} against {one.baseline}: {latency.reason or 'not known'}"
    speed = f"{one.result} ran at {ratio(latency.speed)} the speed of {one.baseline}"
    told = f"{speed} ({ratio_interval(latency.ends)}) at {configuration(latency.config)}"
    if latency.verdict in ("faster", "slower"):
        return told
    return f"{told}: {latency.verdict}, so that the one named first stays"
