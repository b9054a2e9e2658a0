"""`compress`: load, search, measure, write. Readable as that."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any

import onnx_ir as ir

from calibration.encoders.model_folder import ModelFolder, model_folder
from calibration.stats import CalibrationStats
from compressor.checkpoint import require_model
from compressor.checkpoint.hub_cache import located
from compressor.checkpoint.prepare import Prepared, prepare
from compressor.commands.account import GRAPH, PLAN, Finished, account, write_account
from compressor.commands.final_measurements import Measurements, measured
from compressor.commands.stating import metadata_of, stated
from compressor.commands.stream_cut import is_streamed
from compressor.commands.writing_models import writes, written_by
from compressor.errors import RecipeError, TargetError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.layerwise.factor import own_threads
from compressor.plan.plan import Plan
from compressor.recipe.paths import read_by
from compressor.recipe.policy import as_implied
from compressor.recipe.recipe import GraphOptions, Recipe
from compressor.recipe.requirements import require_data, require_sense
from compressor.results.report import BudgetResult, Report
from compressor.search.acceptance import Acceptance
from compressor.search.candidate import Outcome
from compressor.search.data_split import (
    DataSplit,
    examined,
    looked_at,
    split_data,
)
from compressor.search.kept_decisions import decided_once
from compressor.search.measure import Pair, configurations
from compressor.search.quality_budget import QualityBudget, divided_for_budget
from compressor.search.replay import replay
from compressor.search.session import Session
from compressor.search.strategy import decide
from compressor.search.training import with_training_samples
from compressor.system.cache import counting
from compressor.system.output_folder import prepare as prepare_output
from compressor.system.output_folder import written_aside
from compressor.system.progress import SILENT, Progress
from compressor.system.scratch import scratch
from compressor.system.stopwatch import Stopwatch
from compressor.system.workers import LocalWorkers, workers_of
from compressor.system.writable import bytes_of
from exporters.base import Artifact, Samples, Target, find_target

LEAST_UNITS = 2
"""Generated units that can judge: of one nothing tells how much others would differ."""


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
    pipeline: object = None,
    pipeline_options: Mapping[str, Any] | None = None,
    units: int | None = None,
    features: object = None,
    workers: int | str = 1,
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
            batches; of a pipeline a dict of such, for graphs that have data of their own. Without
            it only `int8-dynamic` makes integers, and stored weights are the nearest ones.
        evaluation: Labelled data in the same forms.
        recipe: What is asked for; `compress recipe` documents every field.
        recipe_file: Where the recipe was read from: the folder that holds it is not replaced.
        output: The folder to write; default: the checkpoint's name with "-TARGET" beside it, or
            a live model's class name with "-TARGET" in the working directory.
        plan: Replay these decisions instead of searching; it is written again, unchanged.
        pipeline: A loop over graphs, `generate(models, seed, count)`, `file.py:function` or the
            name of a built-in loop: then `model` is a mapping from names to models, or one that
            the loop calls "model". What the loop feeds them calibrates them, and what it returns
            is judged (docs/pipelines.md).
        pipeline_options: Options of a built-in loop, laid over the recipe's.
        units: How many generated units judge it; default: what a minute makes, at least 64.
        features: The feature model of metrics such as `fid`: a path as `--features` takes it, a
            module, a model, or a function of (samples, ...) that returns (samples, d).
        workers: Processes here, or the address of a Ray cluster, that work on blocks of a model
            whose weights exceed the memory of the recipe.
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
    with counting():
        return _compress(
            model,
            (calibration, evaluation),
            recipe=with_features(_recipe(recipe, target), features),
            recipe_file=recipe_file,
            output=output,
            plan=plan,
            pipeline=pipeline,
            pipeline_options=pipeline_options,
            units=units,
            workers=str(workers),
            force=force,
            progress=progress,
            command=command,
        )


def _compress(
    model: object,
    data: tuple[object, object],
    *,
    recipe: Recipe,
    pipeline: object,
    pipeline_options: Mapping[str, Any] | None,
    units: int | None,
    workers: str,
    **asked: Any,
) -> Report:
    """The same, by what kind of model it is."""
    watch = Stopwatch()
    recipe = with_loop_options(recipe, pipeline_options)
    model = located(model)
    loop = pipeline or recipe.pipeline.loop
    asked["recipe"] = recipe
    count = _units(recipe.pipeline.units if units is None else units)
    if loop is None and units is None and is_streamed(model, recipe):
        return _block_by_block(Path(str(model)), data, workers=workers, watch=watch, **asked)
    if workers != "1":
        raise UsageError(
            f"--workers {workers} is for blocks of a model whose weights exceed --memory, and this "
            "is worked on as a whole",
            hint="Leave --workers out: what it decides, it decides one after the other.",
        )
    if loop is not None:
        return _pipeline(model, loop, data, units=count, **asked)
    folder = writes(model, recipe)
    if folder is not None:
        return _writing(model, folder, data, units=count, **asked)
    if units is not None:
        raise UsageError(
            "units= are of a pipeline, and there is none",
            hint="Leave them out, or pass pipeline=, and the graphs that it calls as the model.",
        )
    return _single(model, data, watch=watch, **asked)


def _block_by_block(  # noqa: PLR0913 - the same as the front door's
    model: Path,
    data: tuple[object, object],
    *,
    recipe: Recipe,
    recipe_file: Path | None,
    output: str | Path | None,
    plan: Plan | str | Path | None,
    force: bool,
    progress: Progress,
    command: str | None,
    workers: str,
    watch: Stopwatch,
) -> Report:
    """The same for a model whose weights exceed `--memory`."""
    from compressor.commands.streaming import streamed, written  # noqa: PLC0415 - it imports this

    target = available_target(recipe)
    recipe = as_implied(recipe, target)
    directory = _directory(model, recipe, output)
    require_sense(recipe, target, find_metric)
    named = (model, *data, recipe_file, _other(plan, directory))
    prepare_output(directory, force=force, inputs=read_by(recipe, *named), room=_room(model))
    if isinstance(plan, Plan):
        raise UsageError(
            "a plan in memory is of a whole model, and this one is worked on block by block",
            hint="Pass the path of its plan.json.",
        )
    replayed = None if plan is None else Path(plan)
    with (
        closing(workers_of(workers) or LocalWorkers(1)) as several,
        written_aside(directory) as folder,
        scratch(directory.resolve().parent) as aside,
    ):
        found = streamed(
            model, data, replayed, recipe=recipe, target=target, scratch=Path(aside),
            workers=several if workers != "1" else None, progress=progress,
        )  # fmt: skip
        return written(found, directory, folder, progress=progress, watch=watch, command=command)


def _units(asked: object) -> int | None:
    """How many generated units judge, where that was asked for.

    Raises:
        UsageError: They are no number, or too few to tell chance from loss.
    """
    if asked is None:
        return None
    if isinstance(asked, bool) or not isinstance(asked, Integral):
        raise UsageError(f"units are a whole number, found {asked!r}", hint="Pass 64, or more.")
    if asked < LEAST_UNITS:
        raise UsageError(
            f"units are {LEAST_UNITS} or more, found {asked}: that many judge a pipeline",
            hint="Leave them out for as many as a minute makes, 64 at least.",
        )
    return int(asked)


def _single(  # noqa: PLR0913 - the same as the front door's
    model: object,
    data: tuple[object, object],
    *,
    recipe: Recipe,
    recipe_file: Path | None,
    output: str | Path | None,
    plan: Plan | str | Path | None,
    force: bool,
    progress: Progress,
    command: str | None,
    watch: Stopwatch,
) -> Report:
    """The same for one model and its data: load, search, measure, write."""
    calibration, evaluation = data
    backend = available_target(recipe)
    recipe = as_implied(recipe, backend)
    replayed = _replayed(plan, backend)
    directory = _directory(model, recipe, output)
    require_sense(recipe, backend, find_metric)
    named = (model, calibration, evaluation, recipe_file, _other(plan, directory))
    prepare_output(directory, force=force, inputs=read_by(recipe, *named), room=_room(model))
    require_model(model, recipe)
    stats = None if recipe.data.stats is None else CalibrationStats.load(recipe.data.stats)
    prepared = prepare(
        model,
        target=backend,
        recipe=recipe,
        calibration=calibration,
        evaluation=evaluation,
        require=None if replayed else partial(require_data, recipe),
        time_source=True,
        progress=progress,
    )
    backend.require_buildable(prepared.model)
    samples = examined(prepared, split_data(prepared, recipe.seed, stats), progress)
    samples = with_training_samples(prepared, samples, recipe) if replayed is None else samples
    prepared = looked_at(prepared, samples, recipe, backend, progress)
    session = Session(prepared, recipe, backend, progress)
    samples, acceptance = divided_for_budget(session, samples)
    if replayed is None:
        with own_threads():
            outcome = decided_once(
                session,
                samples,
                acceptance,
                partial(decide, session, samples, acceptance, stats),
            )
    else:
        outcome = replay(session, replayed.graphs[GRAPH])
    report, found = finish(
        session,
        outcome,
        samples,
        acceptance,
        replayed,
        directory,
        model=model,
        watch=watch,
        command=command,
    )
    if found.interrupted:
        reached = report.graphs[GRAPH].budget
        assert reached is not None, "without one nothing is written"
        raise KeyboardInterrupt(interruption_words(directory, reached))
    return report


def finish(  # noqa: PLR0913 - what a run ends with, each of another kind
    session: Session,
    outcome: Outcome,
    data: DataSplit,
    acceptance: Acceptance,
    replayed: Plan | None,
    directory: Path,
    *,
    model: object,
    watch: Stopwatch,
    command: str | None,
) -> tuple[Report, Measurements]:
    """Build what was decided, measure it, and write the output folder.

    Args:
        session: The target, and how to measure.
        outcome: What ships.
        data: Which samples served which purpose.
        acceptance: The quality budget, or none.
        replayed: The plan that was replayed; None where the outcome was decided now.
        directory: The output folder.
        model: As it was given.
        watch: Since when the run takes time.
        command: The command line, for the report.
    """
    with (
        scratch() as aside,
        written_aside(directory) as folder,
    ):
        budget = acceptance if isinstance(acceptance, QualityBudget) else None
        pair = build_pair(outcome, session, folder, Path(aside))
        if outcome.plan.exits is not None:
            pair = replace(pair, varied=data.quality)
        found = measured(outcome, pair, data, budget)
        # A replayed plan stays what it is: its ranges are of the data that it was made from.
        made = replayed or _plan(outcome, data, pair, found.budget, model)
        pair = pair.moved(stated(pair.result, made.metadata.get(GRAPH, {})))
        run = Finished(outcome, pair, found, data, budget, made)
        report = account({GRAPH: run}, directory, seconds=watch.seconds, command=command)
        beside = model_folder(model)
        return write_account(folder, made, report, session.recipe, beside=beside), found


def _writing(
    model: object,
    folder: ModelFolder,
    data: tuple[object, object],
    *,
    recipe: Recipe,
    output: str | Path | None,
    recipe_file: Path | None,
    progress: Progress,
    **more: Any,
) -> Report:
    """The same for the folder of a model that writes, by a loop that is already written."""
    target = available_target(recipe)
    directory = _directory(model, recipe, output)
    require_sense(recipe, target, find_metric)
    prepare_output(directory, force=more["force"], inputs=read_by(recipe, model, recipe_file))
    made = written_by(folder, recipe, target, data, progress)
    return _pipeline(
        made.graphs,
        made.loop,
        made.data,
        recipe=made.recipe,
        output=directory,
        recipe_file=recipe_file,
        progress=progress,
        folder=folder,
        **more,
    )


def _pipeline(
    model: object,
    pipeline: object,
    data: tuple[object, object],
    *,
    recipe: Recipe,
    output: str | Path | None,
    plan: Plan | str | Path | None,
    recipe_file: Path | None,
    **more: Any,
) -> Report:
    """The same for the graphs of a loop, which gives them their data."""
    from compressor.commands.pipeline import compress_pipeline  # noqa: PLC0415 - it imports this

    graphs = dict(model) if isinstance(model, Mapping) else {GRAPH: model}
    if model is None:
        graphs = {name: _spelt(name, graph) for name, graph in recipe.graphs.items()}
    own, calibration = _own_data(graphs, data[0], recipe)
    evaluation = data[1]
    named = next(iter(graphs.values())) if len(graphs) == 1 else "pipeline"
    named = named.partition("@")[0] if isinstance(named, str) else named
    found = Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan
    directory = _directory(named, recipe, output)
    files = (recipe_file, _other(plan, directory))
    return compress_pipeline(
        graphs,
        pipeline,
        (calibration, evaluation),
        calibration=own,
        recipe=recipe,
        output=directory,
        plan=found,
        files=files,
        **more,
    )


def _own_data(
    graphs: Mapping[str, object], calibration: object, recipe: Recipe
) -> tuple[dict[str, object], object]:
    """Graph → calibration data of its own, where the loop is not to give it; and what is no such.

    Raises:
        UsageError: There is data that is of no graph.
    """
    found = {name: graph.calib for name, graph in recipe.graphs.items() if graph.calib is not None}
    own: dict[str, object] = dict(found)
    if isinstance(calibration, Mapping) and set(calibration) <= set(graphs):
        own |= {str(name): data for name, data in calibration.items()}
        calibration = None
    strange = [name for name in own if name not in graphs]
    if strange:
        raise UsageError(
            f"there is calibration data for {strange[0]!r}, and the graphs are {', '.join(graphs)}",
            hint="Name one of them: --calib NAME=DATA.",
        )
    return own, calibration


def _spelt(name: str, graph: GraphOptions) -> str:
    """A graph of the recipe as the command line has it: `unet.pt@net.py:build`.

    Raises:
        UsageError: It has no model.
    """
    if graph.model is None:
        raise UsageError(
            f"graph {name!r} has no model", hint=f"Name it: --graph {name}=MODEL, or in the recipe."
        )
    return graph.model if graph.factory is None else f"{graph.model}@{graph.factory}"


def _plan(
    outcome: Outcome, data: DataSplit, pair: Pair, budget: BudgetResult | None, model: object
) -> Plan:
    metadata = metadata_of(outcome, pair, budget, model_folder(model), model)
    return Plan(
        target=pair.target.name,
        seed=pair.recipe.seed,
        calibration=data.fingerprint,
        graphs={GRAPH: outcome.plan},
        metadata={GRAPH: metadata},
    )


def interruption_words(directory: Path, budget: BudgetResult) -> str:
    """What became of a run that was interrupted when there was something to write."""
    if budget.interrupted:
        return f"interrupted: the best so far was written to {directory}, not confirmed"
    verdict = "confirmed" if budget.met else "which the budget refused"
    return f"interrupted: the result was written to {directory}, {verdict}; not all was measured"


def available_target(recipe: Recipe) -> Target:
    """The target of a recipe, configured by it, if it works here.

    Raises:
        UsageError: There is no such target.
        TargetError: It is not available on this machine.
    """
    target = find_target(recipe.target)
    if recipe.target_options is not None:
        target = target.configured(recipe.target_options)
    reason = target.why_not_available()
    if reason is not None:
        raise TargetError(f"target {recipe.target!r} is not available here: {reason}")
    return target


def _recipe(recipe: Recipe | None, target: str | None) -> Recipe:
    recipe = recipe or Recipe()
    return recipe if target is None else recipe.model_copy(update={"target": target})


def with_features(recipe: Recipe, features: object) -> Recipe:
    """The recipe with a feature model, where one is given beside it."""
    if features is None:
        return recipe
    measure = recipe.measure.model_copy(update={"features": features})
    return recipe.model_copy(update={"measure": measure})


def with_loop_options(recipe: Recipe, options: Mapping[str, Any] | None) -> Recipe:
    """The recipe with options of a built-in loop laid over its own."""
    if not options:
        return recipe
    known = recipe.pipeline
    pipeline = known.model_copy(update={"options": {**known.options, **options}})
    return recipe.model_copy(update={"pipeline": pipeline})


def _replayed(plan: Plan | str | Path | None, target: Target) -> Plan | None:
    found = Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan
    if found is not None and found.target != target.name:
        raise RecipeError(f"the plan is for target {found.target!r}, not {target.name!r}")
    if found is not None and GRAPH not in found.graphs:
        raise RecipeError(
            f"the plan has no graph {GRAPH!r}, but {', '.join(found.graphs) or 'none'}",
            hint="Pass the plan.json that an earlier run wrote into its output folder.",
        )
    return found


def _directory(model: object, recipe: Recipe, output: str | Path | None) -> Path:
    """`-o`, else the recipe's, else named after the checkpoint, or after a live model's class."""
    chosen = output or recipe.output
    if chosen is not None:
        return Path(chosen)
    if isinstance(model, str | Path):
        path = Path(model)
        hub = next((one for one in path.parents if one.name.startswith("models--")), None)
        if hub is not None:  # a name on the hub: into the working directory
            return Path(f"{hub.name.rpartition('--')[2]}-{recipe.target}")
        path = path if path.name not in ("", "..") else path.resolve()  # `.` has no name
        return path.with_name(f"{path.stem}-{recipe.target}")
    return Path(f"{type(model).__name__.lower()}-{recipe.target}")


def _samples(prepared: Prepared, recipe: Recipe) -> Samples:
    """What the build may know: batches reach from one sample to the largest that was named."""
    fixed, deciding = prepared.fixed_batch, recipe.measure.batch
    configs = configurations(recipe, prepared)
    first = prepared.timed(configs[0], recipe.seed)
    others = {config.phase: config for config in configs if config.phase != configs[0].phase}
    return Samples(
        feeds=first,
        also=tuple(prepared.timed(config, recipe.seed) for config in others.values()),
        batches=(1, fixed or deciding, fixed or max(deciding, recipe.quantize.batch)),
        are_real=prepared.feeds_are_real,
        calls=prepared.calls,
    )


def build_pair(outcome: Outcome, session: Session, folder: Path, scratch: Path) -> Pair:
    """Build what ships, and original and baseline beside it, each model once.

    Args:
        outcome: What ships.
        session: The target, and what a build may know.
        folder: Where the artifact goes.
        scratch: Where the others go.
    """
    prepared, target = session.prepared, session.target
    artifact = target.build(
        prepared.as_shipped(outcome.shipped),
        folder,
        samples=_samples(prepared, session.recipe),
        progress=session.progress,
    )
    built: list[tuple[ir.Model, Artifact]] = [(outcome.shipped, artifact)]

    def build(model: ir.Model, name: str) -> Artifact:
        for known, made in built:
            if known is model:
                return made
        folder = scratch / name
        folder.mkdir()
        made = session.target.draft(session.prepared.as_shipped(model), folder)
        built.append((model, made))
        return made

    def drawn(model: ir.Model, name: str) -> Artifact:
        folder = scratch / name
        folder.mkdir()
        return session.target.draft(model, folder)

    original = build(session.prepared.model, "original")
    # A float result is compared with what was captured, or it would be compared with itself.
    baseline = (
        original if outcome.shipped is outcome.baseline else build(outcome.baseline, "baseline")
    )
    return Pair(
        original,
        baseline,
        artifact,
        session.target,
        session.prepared,
        session.recipe,
        session.progress,
        drawn=(
            drawn(session.prepared.model, "original on inputs"),
            drawn(outcome.shipped, "on inputs"),
        )
        if session.prepared.noises
        else None,
    )


def _room(model: object) -> int:
    """Bytes that a result takes at least: the smallest that weights are stored in is 4 bits."""
    return bytes_of(Path(model)) // 8 if isinstance(model, str | Path) else 0


def _other(plan: object, directory: Path) -> Path | None:
    """A plan's file, unless it is the folder's own, which the run writes there again unchanged."""
    if not isinstance(plan, str | Path) or Path(plan).resolve() == directory.resolve() / PLAN:
        return None
    return Path(plan)
