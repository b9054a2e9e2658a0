"""`compress`: load, search, measure, write. Readable as that."""

import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from calibration.stats import CalibrationStats
from compressor.environment import environment
from compressor.errors import RecipeError, TargetError
from compressor.evaluation.metrics import find_metric
from compressor.measure import (
    Pair,
    measure_latency,
    measure_memory,
    measure_quality,
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
from compressor.report.schema import DataUse, GraphReport, Report
from compressor.search import Bench, Decided, decide, replay
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
        The report, which was also written as `report.json` and `report.html`.

    Raises:
        CompressorError: Its subclasses tell what was wrong; an earlier result is untouched.
    """
    started = time.perf_counter()
    recipe = _recipe(recipe, target)
    backend = available_target(recipe.target)
    replayed = Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan
    if replayed is not None and (replayed.target != backend.name or GRAPH not in replayed.graphs):
        raise RecipeError(f"the plan is for target {replayed.target!r}, not {backend.name!r}")
    directory = _directory(model, recipe, output)
    if recipe.measure.metric is not None:
        find_metric(recipe.measure.metric)  # a misspelt name must not cost the whole run
    prepare_output(directory, force=force, inputs=_inputs(model, calibration, evaluation, recipe))
    stats = None if recipe.data.stats is None else CalibrationStats.load(recipe.data.stats)
    prepared = prepare(
        model,
        recipe=recipe,
        calibration=calibration,
        evaluation=evaluation,
        opset=backend.opset,
        progress=progress,
    )
    data = split_data(prepared, recipe.seed, stats)
    with tempfile.TemporaryDirectory(prefix="compressor-") as scratch:
        bench = Bench(prepared, recipe, backend, progress)
        if replayed is None:
            decided = decide(bench, data.calibration, stats)
        else:
            decided = replay(bench, replayed.graphs[GRAPH])
        with written_aside(directory) as folder:
            artifact = backend.build(decided.shipped, folder)
            pair = _built(decided, artifact, bench, Path(scratch))
            graph = _graph_report(decided, pair, data)
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
                notices=_notices(prepared, decided, data, graph),
                environment=environment(),
            )
            made = Plan(
                target=backend.name,
                seed=recipe.seed,
                calibration=data.fingerprint,
                graphs={GRAPH: decided.plan},
            )
            _write(folder, made, report, recipe)
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
        quality_reason: Why nothing judges, when nothing does.
    """

    calibration: CalibrationSet | None
    quality: CalibrationSet | None
    words: str = ""
    fingerprint: str | None = None
    notices: tuple[str, ...] = ()
    quality_reason: str = "no data to measure on: pass --eval or --calib"

    @property
    def uses(self) -> tuple[DataUse, ...]:
        """The same, for the report."""
        used = (("calibration", self.calibration), ("evaluation", self.quality))
        return tuple(
            DataUse(
                role=role,
                description=data.description,
                samples=len(data),
                fingerprint=data.fingerprint(),
            )
            for role, data in used
            if data is not None
        )


def split_data(prepared: Prepared, seed: int, stats: CalibrationStats | None = None) -> DataSplit:
    """Evaluation data judges when there is any; else calibration samples are held out.

    With statistics that were collected earlier none can be: they may be of these very samples.
    """
    calib, evaluation = prepared.calibration, prepared.evaluation
    if stats is not None:
        notices = ("the ranges come from statistics that were collected earlier (--stats)",)
        reason = "the statistics may be of the calibration data, which cannot judge: pass --eval"
        return DataSplit(calib, evaluation, "evaluation data", stats.data, notices, reason)
    if calib is None:
        return DataSplit(None, evaluation, "evaluation data")
    if evaluation is not None:
        return DataSplit(calib, evaluation, "evaluation data", calib.fingerprint())
    if len(calib) < 2:
        notice = ("one calibration sample cannot both calibrate and judge; pass --eval",)
        return DataSplit(calib, None, "", calib.fingerprint(), notice)
    used, held_out = calib.split(1 - HOLDOUT, seed)
    words = "calibration samples not used to calibrate"
    return DataSplit(used, held_out, words, used.fingerprint())


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


def _graph_report(decided: Decided, pair: Pair, data: DataSplit) -> GraphReport:
    feeds = pair.feeds(1 if pair.prepared.fixed_batch is None else pair.prepared.fixed_batch)
    unchanged = pair.baseline is pair.result
    return GraphReport(
        shipped=decided.plan.ship,
        shipped_reason=decided.reason,
        baseline="the captured graph in float"
        if pair.baseline is pair.original
        else "the folded graph in float",
        parity=pair.prepared.parity,
        candidates=decided.candidates,
        latency=() if unchanged else measure_latency(pair),
        latency_reason="the graph was not changed" if unchanged else None,
        quality=() if data.quality is None else measure_quality(pair, data.quality, data.words),
        quality_reason=data.quality_reason if data.quality is None else None,
        memory=None if unchanged else measure_memory(pair),
        memory_reason="the graph was not changed" if unchanged else None,
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
    prepared: Prepared, decided: Decided, data: DataSplit, graph: GraphReport
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
    return tuple(dict.fromkeys([*data.notices, *said]))


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
