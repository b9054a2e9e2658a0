"""`compress`: load, search, measure, write. Readable as that."""

import tempfile
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.bench import Bench
from compressor.environment import environment
from compressor.errors import DataError, RecipeError, TargetError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.quality import summarized
from compressor.evaluation.results import LatencyResult, MemoryResult, QualityResult
from compressor.judging import Judging
from compressor.measure import (
    Pair,
    measure_latency,
    measure_memory,
    measure_scores,
    placement,
    size,
)
from compressor.output import prepare as prepare_output
from compressor.output import write_manifest, written_aside
from compressor.plan import Plan
from compressor.prepare import Prepared, prepare
from compressor.progress import SILENT, Progress
from compressor.recipe import Recipe
from compressor.report.html import render_html
from compressor.report.schema import BudgetResult, DataUse, GraphReport, Report
from compressor.search import Decided, decide, replay
from exporters.base import Artifact, Target, find_target

GRAPH = "model"
"""The name of the only graph of a single model; reports and plans are keyed by graph."""

HOLDOUT = 0.2
"""Share of the calibration samples kept out of calibration when there is no evaluation data."""


def compress(  # noqa: PLR0913 - the front door: all but the model is optional and named
    model: object,
    *,
    target: str | None = None,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | None = None,
    output: str | Path | None = None,
    plan: Plan | str | Path | None = None,
    force: bool = False,
    progress: Progress = SILENT,
    command: str | None = None,
) -> Report:
    """Compress a trained model for a runtime and write artifact, plan, report and manifest.

    Args:
        model: A path (anything the command line takes), a live `torch.nn.Module`, an exported
            program, or an `onnx_ir.Model`.
        target: The runtime's name; the recipe's by default.
        calibration: A path, arrays, a dict of arrays, a DataLoader, or a function that yields
            batches. Without it nothing is quantized.
        evaluation: Labelled data in the same forms.
        recipe: What is asked for; `compress recipe` documents every field.
        output: The folder to write; default: the checkpoint's name with "-TARGET" beside it, or
            a live model's class name with "-TARGET" in the working directory.
        plan: Replay these decisions instead of searching.
        force: Replace a folder that was not written by this tool.
        progress: Where progress is shown.
        command: The command line, for the report.

    Returns:
        The report, which was also written as `report.json` and `report.html`. Where a budget was
        asked for, `report.graphs["model"].budget.met` says whether it was kept: a result that
        was refused is written all the same, and no exception is raised, so that the best is of
        use. The command line ends with 3 then.

    Raises:
        CompressorError: Its subclasses tell what was wrong; an earlier result is untouched.
        KeyboardInterrupt: Where a budget was asked for and something had kept it so far, that
            was written, marked as interrupted and not confirmed; else nothing was.
    """
    started = time.perf_counter()
    recipe = _recipe(recipe, target)
    backend = available_target(recipe.target)
    replayed = Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan
    if replayed is not None and (replayed.target != backend.name or GRAPH not in replayed.graphs):
        raise RecipeError(f"the plan is for target {replayed.target!r}, not {backend.name!r}")
    directory = _directory(model, recipe, output)
    _check_budget(recipe)
    if recipe.measure.metric is not None:
        find_metric(recipe.measure.metric)  # a misspelt name must not cost the whole run
    prepare_output(directory, force=force, inputs=_inputs(model, calibration, evaluation, recipe))
    prepared = prepare(
        model,
        recipe=recipe,
        calibration=calibration,
        evaluation=evaluation,
        opset=backend.opset,
        progress=progress,
    )
    data = split_data(prepared, recipe.seed)
    judging = _judging(prepared, data, recipe, backend, progress)
    if judging is not None:
        data = replace(data, quality=judging.confirm, search=judging.search)
    with tempfile.TemporaryDirectory(prefix="compressor-") as scratch:
        bench = Bench(prepared, recipe, backend, progress)
        if replayed is None:
            decided = decide(bench, data.calibration, judging)
        else:
            decided = replay(bench, replayed.graphs[GRAPH])
        with written_aside(directory) as folder:
            artifact = backend.build(decided.shipped, folder)
            pair = _built(decided, artifact, bench, Path(scratch))
            graph = _graph_report(decided, pair, data, judging)
            report = Report(
                source=prepared.name,
                target=backend.name,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=time.perf_counter() - started,
                command=command,
                artifact=str(directory),
                files=_files(directory, artifact),
                data=data.uses,
                graphs={GRAPH: graph},
                stages=(*prepared.records, *decided.records),
                notices=_notices(prepared, decided, data, graph, judging),
                environment=environment(),
            )
            made = Plan(
                target=backend.name,
                seed=recipe.seed,
                calibration=data.fingerprint,
                graphs={GRAPH: decided.plan},
            )
            _write(folder, made, report, recipe)
    if graph.budget is not None and graph.budget.interrupted:
        raise KeyboardInterrupt(
            f"interrupted: the best so far was written to {directory}, not confirmed"
        )
    return report


@dataclass(frozen=True)
class DataSplit:
    """Which samples serve which purpose.

    Attributes:
        calibration: What ranges are taken from.
        quality: What judges; no decision sees it.
        words: Which data judges, in words.
        fingerprint: Of the calibration data.
        notices: What the user should know about it.
        share: What part of the samples that the user passed `quality` is.
        search: With a budget, what candidates are compared on; no part of `quality`.
    """

    calibration: CalibrationSet | None
    quality: CalibrationSet | None
    words: str = ""
    fingerprint: str | None = None
    notices: tuple[str, ...] = ()
    share: float = 1.0
    search: CalibrationSet | None = None

    @property
    def uses(self) -> tuple[DataUse, ...]:
        """The same, for the report."""
        confirm: Literal["confirm"] | None = None if self.search is None else "confirm"
        found = (
            _use("calibration", self.calibration),
            _use("evaluation", self.search, "search"),
            _use("evaluation", self.quality, confirm),
        )
        return tuple(use for use in found if use is not None)


def _use(
    role: Literal["calibration", "evaluation"],
    data: CalibrationSet | None,
    purpose: Literal["search", "confirm"] | None = None,
) -> DataUse | None:
    if data is None:
        return None
    return DataUse(
        role=role,
        description=data.description,
        samples=len(data),
        fingerprint=data.fingerprint(),
        purpose=purpose,
    )


def split_data(prepared: Prepared, seed: int) -> DataSplit:
    """Evaluation data judges when there is any; else calibration samples are held out."""
    calib, evaluation = prepared.calibration, prepared.evaluation
    if calib is None:
        return DataSplit(None, evaluation, "evaluation data")
    if evaluation is not None:
        return DataSplit(calib, evaluation, "evaluation data", calib.fingerprint())
    if len(calib) < 2:
        notice = ("one calibration sample cannot both calibrate and judge; pass --eval",)
        return DataSplit(calib, None, "", calib.fingerprint(), notice)
    used, held_out = calib.split(1 - HOLDOUT, seed)
    words = "calibration samples not used to calibrate"
    return DataSplit(used, held_out, words, used.fingerprint(), share=HOLDOUT)


def _check_budget(recipe: Recipe) -> None:
    """Refuse at once what could only be found out after the work.

    Raises:
        RecipeError: How to accept or how long to search is given without a budget.
    """
    budget = recipe.budget
    if budget.max_drop is None and (budget.time is not None or budget.accept != "bound"):
        raise RecipeError(
            "--budget and --time-budget belong to a quality budget, and there is none",
            hint="Add one, such as --max-drop 1%.",
        )


def _judging(
    prepared: Prepared, data: DataSplit, recipe: Recipe, target: Target, progress: Progress
) -> Judging | None:
    """Divide what judges into search and confirm, and say what it can prove.

    Raises:
        DataError: A budget was asked for and there is nothing to judge on.
        RecipeError: The budget means nothing in the metric.
    """
    budget = recipe.budget.allowed
    if budget is None:
        return None
    if data.quality is None:
        raise DataError(
            f"the budget of {budget.asked} needs samples to judge on",
            hint="Pass --eval with labels, or --calib: a fifth of it is held out then.",
        )
    search, confirm = data.quality.split(0.5, recipe.seed)
    judging = Judging(budget, recipe, search, confirm, data.words, data.share / 2)
    with progress.stage("measure the original"):
        judging = judging.announced(prepared, target)
    for notice in judging.notices:
        progress.notice(notice)
    return judging


def available_target(name: str) -> Target:
    """The target of that name, if it works here.

    Raises:
        UsageError: There is no such target.
        TargetError: It is not available on this machine.
    """
    target = find_target(name)
    reason = target.available()
    if reason is not None:
        raise TargetError(f"target {name!r} is not available here: {reason}")
    return target


def _recipe(recipe: Recipe | None, target: str | None) -> Recipe:
    recipe = recipe or Recipe()
    return recipe if target is None else recipe.model_copy(update={"target": target})


def _directory(model: object, recipe: Recipe, output: str | Path | None) -> Path:
    """`-o`, else the recipe's, else named after the checkpoint, or after a live model's class."""
    chosen = output or recipe.output
    if chosen is not None:
        return Path(chosen)
    if isinstance(model, str | Path):
        path = Path(model)
        return path.with_name(f"{path.stem}-{recipe.target}")
    return Path(f"{type(model).__name__.lower()}-{recipe.target}")


def _built(decided: Decided, artifact: Artifact, bench: Bench, scratch: Path) -> Pair:
    """Build original and baseline beside the artifact, each model once."""
    built: list[tuple[ir.Model, Artifact]] = [(decided.shipped, artifact)]

    def build(model: ir.Model, name: str) -> Artifact:
        for known, made in built:
            if known is model:
                return made
        folder = scratch / name
        folder.mkdir()
        made = bench.target.build(model, folder)
        built.append((model, made))
        return made

    original = build(decided.captured, "original")
    # A float result is compared with what was captured, or it would be compared with itself.
    baseline = (
        original if decided.shipped is decided.baseline else build(decided.baseline, "baseline")
    )
    return Pair(
        original, baseline, artifact, bench.target, bench.prepared, bench.recipe, bench.progress
    )


@dataclass(frozen=True)
class Measurements:
    """What is measured of the finished result, or why it was not."""

    latency: tuple[LatencyResult, ...] = ()
    latency_reason: str | None = None
    quality: tuple[QualityResult, ...] = ()
    quality_reason: str | None = None
    memory: MemoryResult | None = None
    memory_reason: str | None = None
    budget: BudgetResult | None = None


def _measured(
    decided: Decided, pair: Pair, data: DataSplit, judging: Judging | None
) -> Measurements:
    """Quality first: with a budget it is what the run is for.

    Raises:
        KeyboardInterrupt: There is no budget, and so no best so far to write.
    """
    if judging is not None and decided.interrupted:
        return _unmeasured(judging)
    try:
        return _measure(decided, pair, data, judging)
    except KeyboardInterrupt:
        if judging is None:
            raise
        return _unmeasured(judging)


def _measure(
    decided: Decided, pair: Pair, data: DataSplit, judging: Judging | None
) -> Measurements:
    scored = () if data.quality is None else measure_scores(pair, data.quality)
    unchanged = "the graph was not changed" if pair.baseline is pair.result else None
    budget = None
    if judging is not None:
        is_float = decided.plan.ship == "float"
        budget = judging.confirmed(*scored[0], is_float=is_float)
    no_data = "no data to measure on: pass --eval or --calib" if data.quality is None else None
    return Measurements(
        latency=() if unchanged else measure_latency(pair),
        latency_reason=unchanged,
        quality=tuple(
            summarized(metric, scores, data_words=data.words, seed=pair.recipe.seed)
            for metric, scores in scored
        ),
        quality_reason=no_data,
        memory=None if unchanged else measure_memory(pair),
        memory_reason=unchanged,
        budget=budget,
    )


def _unmeasured(judging: Judging) -> Measurements:
    why = "the run was interrupted"
    return Measurements(
        latency_reason=why, quality_reason=why, memory_reason=why, budget=judging.unconfirmed()
    )


def _graph_report(
    decided: Decided, pair: Pair, data: DataSplit, judging: Judging | None
) -> GraphReport:
    feeds = pair.feeds(1 if pair.prepared.fixed_batch is None else pair.prepared.fixed_batch)
    found = _measured(decided, pair, data, judging)
    return GraphReport(
        shipped=decided.plan.ship,
        shipped_reason=decided.reason,
        baseline="the captured graph in float"
        if pair.baseline is pair.original
        else "the folded graph in float",
        parity=pair.prepared.parity,
        candidates=decided.candidates,
        budget=found.budget,
        latency=found.latency,
        latency_reason=found.latency_reason,
        quality=found.quality,
        quality_reason=found.quality_reason,
        memory=found.memory,
        memory_reason=found.memory_reason,
        baseline_size=size(pair.original, decided.captured, feeds),
        result_size=size(pair.result, decided.shipped, feeds),
        placement=placement(pair.target, pair.result),
        float_reasons=decided.float_reasons,
    )


def _inputs(model: object, calibration: object, evaluation: object, recipe: Recipe) -> list[Path]:
    """The files and folders that the run reads, as far as they are named by path."""
    named = (model, calibration, evaluation, recipe.data.calib, recipe.data.eval)
    paths = [Path(name) for name in named if isinstance(name, str | Path)]
    return [path for path in paths if path.exists()]


def _notices(
    prepared: Prepared,
    decided: Decided,
    data: DataSplit,
    graph: GraphReport,
    judging: Judging | None,
) -> tuple[str, ...]:
    """What the user should know, from every stage, each once."""
    stages = (*prepared.records, *decided.records)
    said = [notice for stage in stages for notice in stage.notices]
    if graph.latency and not prepared.feeds_are_real:
        said.append("no data was given: latency is of random inputs")
    relative = bool(graph.quality) and graph.quality[0].reference == "original"
    if relative and data.quality is not None and data.quality.has_labels:
        said.append(
            "the labels were not used: they do not fit the first output as class numbers or as "
            "values; quality is of the outputs against the original's"
        )
    before = () if judging is None else judging.notices
    return tuple(dict.fromkeys([*before, *data.notices, *said]))


def _files(directory: Path, artifact: Artifact) -> dict[str, str]:
    names = {
        "model": artifact.model.name,
        "report": "report.html",
        "report.json": "report.json",
        "plan": "plan.json",
        "manifest": "manifest.json",
    }
    return {role: str(directory / name) for role, name in names.items()}


def _write(folder: Path, plan: Plan, report: Report, recipe: Recipe) -> None:
    """Plan, report in both forms, and the manifest that seals them."""
    plan.save(folder / "plan.json")
    (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(render_html(report), encoding="utf-8")
    write_manifest(
        folder,
        {
            "source": report.source,
            "target": report.target,
            "created": report.created,
            "seed": recipe.seed,
            "recipe": recipe.model_dump(mode="json"),
            "environment": report.environment.model_dump(mode="json"),
        },
    )
