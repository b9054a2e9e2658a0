"""`compress --graph NAME=FILE ... --pipeline FILE:FUNCTION`: several graphs and the loop over them.

The loop is run on the graphs as they are; what it feeds them calibrates them. Then each graph is
decided with the others as they are by then, the costliest first, by what the loop generates. What
all of them make together is confirmed on seeds that no decision has seen.
"""

from collections.abc import Mapping
from pathlib import Path

from calibration.encoders.model_folder import ModelFolder
from calibration.preprocess import Preprocess
from compressor.commands.loop_account import written
from compressor.commands.loop_job import Given
from compressor.commands.loop_search import decide_all
from compressor.commands.loop_tracing import traced, with_factory
from compressor.errors import RecipeError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.layerwise.factor import own_threads
from compressor.pipelines.builtin import find
from compressor.pipelines.loop import Builtin, UserLoop
from compressor.plan.plan import Plan
from compressor.recipe.data import DataOptions
from compressor.recipe.paths import read_by
from compressor.recipe.policy import as_implied
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.sense import require_sense
from compressor.recipe.targets import available_target
from compressor.results.report import Report
from compressor.system.output_folder import prepare as prepare_output
from compressor.system.progress import Progress
from compressor.system.scratch import scratch
from compressor.system.stopwatch import Stopwatch
from compressor.system.userfile import load_object
from exporters.base import Target


def compress_pipeline(  # noqa: PLR0913 - the front door of several graphs
    graphs: Mapping[str, object],
    pipeline: object,
    data: tuple[object, object],
    *,
    calibration: Mapping[str, object],
    recipe: Recipe,
    units: int | None,
    output: Path,
    plan: Plan | None,
    files: tuple[Path | None, ...],
    force: bool,
    progress: Progress,
    command: str | None,
    folder: ModelFolder | None = None,
) -> Report:
    """Compress the graphs of a loop by what the loop makes of them.

    Args:
        graphs: Name → model: a path, `path@factory`, or a live module.
        pipeline: The function, `file.py:function`, or the name of a built-in loop.
        data: What a built-in loop reads to calibrate and to judge, beside the recipe's.
        calibration: Graph → calibration data of its own; the loop gives the others theirs.
        recipe: What is asked for, of all graphs alike.
        units: How many judge; as many as a minute makes without.
        output: The folder to write: one sub-folder a graph.
        plan: Decisions to replay.
        files: What else was read: the recipe, the plan.
        force: Replace a folder that was not written by this tool.
        progress: Where progress is shown.
        command: The command line, for the report.
        folder: The model's folder that all graphs come from, with what goes beside them.

    Raises:
        CompressorError: As for `compress`; UsageError where the loop fails, is not deterministic
            in its seed, or calls a graph wrongly.
    """
    watch = Stopwatch()
    target = available_target(recipe)
    recipe = as_implied(recipe, target)
    require_sense(recipe, target, find_metric)
    _require_names(graphs, plan, target)
    require_fitting(recipe)
    named = [one for model in graphs.values() for one in _files_of(model, recipe)]
    loop = loop_of(pipeline, data, recipe, own_data=bool(calibration))
    if isinstance(loop, Builtin):
        loop.generate.assigned(graphs)
    own = loop.generate.files.values() if isinstance(loop, Builtin) else (pipeline,)
    inputs = read_by(recipe, *named, *own, *data, *calibration.values(), *files)
    prepare_output(output, force=force, inputs=inputs, room=0)
    with scratch() as aside:
        given = Given(loop, target, recipe, progress, Path(aside), calibration, folder)
        job = traced(given, graphs, units)
        with own_threads():
            decide_all(job, plan)
        return written(job, output, plan, watch, command)


def loop_of(
    pipeline: object, data: tuple[object, object], recipe: Recipe, *, own_data: bool = False
) -> UserLoop:
    """A built-in loop with its options and data, or the user's own.

    Args:
        pipeline: The name of a built-in loop, the user's function, or `file.py:function`.
        data: What one reads to calibrate and to judge, in place of the recipe's.
        recipe: What is asked for: options of a built-in loop, data, and how it is prepared.
        own_data: Whether a graph has data of its own, which is prepared likewise.

    Raises:
        UsageError: There is no such loop, it is no function, or it takes no options or data.
        RecipeError: An option is not valid.
    """
    if is_builtin(pipeline):
        return _builtin(str(pipeline), data, recipe)
    options = recipe.pipeline.options
    if options:
        raise UsageError(
            f"options are given ({', '.join(options)}), and the loop is one of your own",
            hint="Write them into your function: they are of built-in loops.",
        )
    require_no_data(recipe, data, own_data=own_data)
    return user_loop(pipeline)


def require_no_data(recipe: Recipe, data: tuple[object, object], *, own_data: bool) -> None:
    """Refuse what a loop of the user's own would not be given."""
    options = recipe.data
    prepared = options.preprocess if own_data else Preprocess()
    mine = DataOptions(samples=options.samples, cache=options.cache, preprocess=prepared)
    if any(one is not None for one in data) or options != mine:
        raise UsageError(
            "a pipeline gives its graphs their data, and there is other data beside it",
            hint="Leave out --calib, --eval, --stats and what prepares data: what the loop feeds "
            "its graphs is recorded as it is. A graph has data of its own by --calib NAME=DATA, or "
            "calibration={NAME: DATA}.",
        )


def is_builtin(pipeline: object) -> bool:
    """Whether a loop is named that is already written; one of the user's has a colon."""
    return isinstance(pipeline, str) and ":" not in pipeline


def _builtin(name: str, data: tuple[object, object], recipe: Recipe) -> Builtin:
    """A loop that is already written, with the data that it reads."""
    if recipe.data.stats is not None:
        raise UsageError(
            "--stats are of one graph, and a pipeline records what it feeds each",
            hint="Leave out --stats.",
        )
    calib, evaluate = data
    calib = recipe.data.calib if calib is None else calib
    evaluate = recipe.data.eval if evaluate is None else evaluate
    kind = find(name)
    loop = kind(
        recipe.pipeline.options,
        calibration=calib,
        evaluation=evaluate,
        preprocess=recipe.data.preprocess,
        seed=recipe.seed,
    )
    return Builtin(loop, name)


def user_loop(pipeline: object) -> UserLoop:
    """The function, by its own name or by that of its file.

    Raises:
        UsageError: It cannot be imported, or is no function.
    """
    if isinstance(pipeline, str):
        found, name = load_object(pipeline, "pipeline"), pipeline
    else:
        found, name = pipeline, getattr(pipeline, "__name__", type(pipeline).__name__)
    if not callable(found):
        raise UsageError(
            f"pipeline {name} is no function, but {type(found).__name__}",
            hint="Name a function generate(models, seed, count), as sample.py:generate.",
        )
    return UserLoop(found, name)


def _files_of(model: object, recipe: Recipe) -> tuple[object, ...]:
    """What is read of a graph: its file, and that of its factory."""
    path, own = with_factory(model, recipe)
    return path, own.model.factory


def require_fitting(recipe: Recipe) -> None:
    """Refuse an importance that needs labels: a loop calibrates without any.

    Raises:
        UsageError: It is asked for.
    """
    if recipe.prune.method == "taylor":
        raise UsageError(
            "importance by 'taylor' needs a loss of labelled data, and a pipeline has none",
            hint="Choose --prune-method obs.",
        )


def _require_names(graphs: Mapping[str, object], plan: Plan | None, target: Target) -> None:
    if not graphs:
        raise UsageError("there are no graphs", hint="Name those that the loop calls.")
    for name in graphs:
        if not name.replace("-", "_").isidentifier():
            raise UsageError(
                f"a graph cannot be called {name!r}: the name becomes a folder",
                hint="Use letters, digits, _ and -.",
            )
    if plan is not None and plan.target != target.name:
        raise RecipeError(f"the plan is for target {plan.target!r}, not {target.name!r}")
    if plan is not None and set(plan.graphs) != set(graphs):
        raise RecipeError(
            f"the plan is of graphs {', '.join(plan.graphs)}, and there are {', '.join(graphs)}",
            hint="Replay it with the graphs that it was made of.",
        )
