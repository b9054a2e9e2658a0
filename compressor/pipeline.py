"""`compress`: load, search, measure, write. Readable as that."""

import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import onnx_ir as ir

from calibration.stats import CalibrationStats
from compressor.bench import Bench
from compressor.contract import goal_result
from compressor.decided import Decided
from compressor.deciding import decide
from compressor.division import DataSplit, divided_for_budget, split_data
from compressor.environment import environment
from compressor.errors import RecipeError, TargetError
from compressor.evaluation.metrics import find_metric
from compressor.inputs import read_by
from compressor.judging import Judging
from compressor.measure import (
    Pair,
    placement,
    size,
)
from compressor.outcome import Measurements, measured
from compressor.output import prepare as prepare_output
from compressor.output import write_manifest, written_aside
from compressor.plan import Plan
from compressor.prepare import Prepared, prepare
from compressor.progress import SILENT, Progress
from compressor.recipe import Recipe
from compressor.rendering import pages
from compressor.report.schema import GraphReport, Report
from compressor.starting import replay
from exporters.base import Artifact, Target, find_target

GRAPH = "model"
"""The name of the only graph of a single model; reports and plans are keyed by graph."""
PLAN = "plan.json"


def compress(  # noqa: PLR0913 - the front door: all but the model is optional and named
    model: object,
    *,
    target: str | None = None,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | None = None,
    recipe_file: Path | None = None,
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
        recipe_file: Where the recipe was read from: the folder that holds it is not replaced.
        output: The folder to write; default: the checkpoint's name with "-TARGET" beside it, or
            a live model's class name with "-TARGET" in the working directory.
        plan: Replay these decisions instead of searching; it is written again, unchanged.
        force: Replace a folder that was not written by this tool.
        progress: Where progress is shown.
        command: The command line, for the report.

    Returns:
        The report, which was also written as `report.json`, `report.html` and
        `report.md`. Where a budget or a goal of pruning was asked for,
        `report.graphs["model"].budget.met` and `.goal.met` say whether it was kept: a result that
        was refused is written all the same, and no exception is raised, so that the best is of
        use. The command line ends with 3 then.

    Raises:
        CompressorError: Its subclasses tell what was wrong; an earlier result is untouched.
        KeyboardInterrupt: Where a budget was asked for and something had kept it so far, that
            was written: marked as interrupted and not confirmed, or with the verdict on it where
            only measurements after that are missing; else nothing was.
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
    named = (model, calibration, evaluation, recipe_file, _other(plan, directory))
    prepare_output(directory, force=force, inputs=read_by(recipe, *named))
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
    data, judging = divided_for_budget(prepared, data, recipe, backend, progress)
    with tempfile.TemporaryDirectory(prefix="compressor-") as scratch:
        bench = Bench(prepared, recipe, backend, progress)
        if replayed is None:
            decided = decide(bench, data, stats, judging)
        else:
            decided = replay(bench, replayed.graphs[GRAPH])
        with written_aside(directory) as folder:
            artifact = backend.build(decided.shipped, folder)
            pair = _built(decided, artifact, bench, Path(scratch))
            found = measured(decided, pair, data, judging)
            graph = _graph_report(decided, pair, found)
            # A replayed plan stays what it is: its ranges are of the data that it was made from.
            made = replayed or Plan(
                target=backend.name,
                seed=recipe.seed,
                calibration=data.fingerprint,
                graphs={GRAPH: decided.plan},
            )
            report = Report(
                source=prepared.name,
                target=backend.name,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=time.perf_counter() - started,
                command=command,
                artifact=str(directory),
                files=_files(directory, artifact, made),
                data=data.uses,
                graphs={GRAPH: graph},
                stages=(*prepared.records, *decided.records, *found.records),
                notices=_notices(prepared, decided, data, graph, judging, recipe.measure.metric),
                environment=environment(),
            )
            _write(folder, made, report, recipe)
    if found.interrupted:
        raise KeyboardInterrupt(_interrupted(directory, graph))
    return report


def _interrupted(directory: Path, graph: GraphReport) -> str:
    """What became of a run that was interrupted when there was something to write."""
    budget = graph.budget
    assert budget is not None, "without one nothing is written"
    if budget.interrupted:
        return f"interrupted: the best so far was written to {directory}, not confirmed"
    verdict = "confirmed" if budget.met else "which the budget refused"
    return f"interrupted: the result was written to {directory}, {verdict}; not all was measured"


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


def _graph_report(decided: Decided, pair: Pair, found: Measurements) -> GraphReport:
    feeds = pair.feeds(1 if pair.prepared.fixed_batch is None else pair.prepared.fixed_batch)
    before, after = (
        size(built, model, feeds)
        for built, model in ((pair.original, decided.captured), (pair.result, decided.shipped))
    )
    goal = pair.recipe.prune.goal
    pruning = decided.pruning
    if pruning is not None and found.latency:
        measured_ms = found.latency[0].result.median_ms
        pruning = pruning.model_copy(update={"measured_ms": measured_ms})
    return GraphReport(
        shipped=decided.plan.ship,
        shipped_reason=decided.reason,
        baseline="the captured graph in float"
        if pair.baseline is pair.original
        else "the folded graph in float",
        parity=pair.prepared.parity,
        candidates=decided.candidates,
        budget=found.budget,
        goal=None if goal is None else goal_result(goal, decided, found.latency, before, after),
        pruning=pruning,
        latency=found.latency,
        latency_reason=found.latency_reason,
        quality=found.quality,
        quality_reason=found.quality_reason,
        memory=found.memory,
        memory_reason=found.memory_reason,
        baseline_size=before,
        result_size=after,
        placement=placement(pair.target, pair.result),
        float_reasons=decided.float_reasons,
        layers=found.explained.layers,
        tensors=found.explained.tensors,
        layers_reason=found.explained.reason,
        changed=found.changed.samples,
        changed_total=found.changed.total,
        changed_reason=found.changed.reason,
    )


def _other(plan: object, directory: Path) -> Path | None:
    """A plan's file, unless it is the folder's own, which the run writes there again unchanged."""
    if not isinstance(plan, str | Path) or Path(plan).resolve() == directory.resolve() / PLAN:
        return None
    return Path(plan)


def _notices(
    prepared: Prepared,
    decided: Decided,
    data: DataSplit,
    graph: GraphReport,
    judging: Judging | None,
    metric: str | None,
) -> tuple[str, ...]:
    """What the user should know, from every stage, each once."""
    stages = (*prepared.records, *decided.records)
    said = [notice for stage in stages for notice in stage.notices]
    if graph.latency and not prepared.feeds_are_real:
        said.append("no data was given: latency is of random inputs")
    relative = bool(graph.quality) and graph.quality[0].reference == "original"
    labelled = data.quality is not None and data.quality.has_labels
    if relative and labelled and metric is None:
        said.append(
            "the labels were not used: they do not fit the first output as class numbers or as "
            "values; quality is of the outputs against the original's"
        )
    before = () if judging is None else judging.notices
    return tuple(dict.fromkeys([*before, *data.notices, *said]))


def _files(directory: Path, artifact: Artifact, plan: Plan) -> dict[str, str]:
    names = {
        "model": artifact.model.name,
        "report": "report.html",
        "report.md": "report.md",
        "report.json": "report.json",
        "plan": PLAN,
        "manifest": "manifest.json",
    }
    if plan.weights:
        names["plan.safetensors"] = "plan.safetensors"
    return {role: str(directory / name) for role, name in names.items()}


def _write(folder: Path, plan: Plan, report: Report, recipe: Recipe) -> None:
    """Plan, report in all its forms, and the manifest that seals them."""
    plan.save(folder / PLAN)
    (folder / "report.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name, text in pages(report).items():
        (folder / name).write_text(text, encoding="utf-8")
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
