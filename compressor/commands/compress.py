"""`compress`: load, search, measure, write. Readable as that."""

from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from compressor.checkpoint.hub_cache import located
from compressor.commands.request import Request
from compressor.commands.single import compress_single
from compressor.commands.stream_cut import is_streamed
from compressor.commands.writing_models import writes
from compressor.errors import UsageError
from compressor.plan.plan import Plan
from compressor.recipe.recipe import Recipe
from compressor.results.report import Report
from compressor.system.cache import counting
from compressor.system.progress import SILENT, Progress
from compressor.system.stopwatch import Stopwatch

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
        request = Request(
            with_loop_options(with_features(_recipe(recipe, target), features), pipeline_options),
            recipe_file,
            output,
            plan,
            force,
            progress,
            command,
            Stopwatch(),
        )
        return _by_kind(model, (calibration, evaluation), request, pipeline, units, str(workers))


def _by_kind(
    model: object,
    data: tuple[object, object],
    request: Request,
    pipeline: object,
    units: int | None,
    workers: str,
) -> Report:
    """The same, by what kind of model it is."""
    recipe, model = request.recipe, located(model)
    loop = pipeline or recipe.pipeline.loop
    count = _units(recipe.pipeline.units if units is None else units)
    if loop is None and units is None and is_streamed(model, recipe):
        from compressor.commands.blocks import compress_blocks  # noqa: PLC0415 - few need it

        return compress_blocks(Path(str(model)), data, request, workers)
    if workers != "1":
        raise UsageError(
            f"--workers {workers} is for blocks of a model whose weights exceed --memory, and this "
            "is worked on as a whole",
            hint="Leave --workers out: what it decides, it decides one after the other.",
        )
    folder = None if loop is not None else writes(model, recipe)
    if loop is not None or folder is not None:
        from compressor.commands import several_graphs  # noqa: PLC0415 - as above

        if folder is not None:
            return several_graphs.compress_writer(model, folder, data, request, count)
        return several_graphs.compress_graphs(model, loop, data, request, count)
    if units is not None:
        raise UsageError(
            "units= are of a pipeline, and there is none",
            hint="Leave them out, or pass pipeline=, and the graphs that it calls as the model.",
        )
    return compress_single(model, data, request)


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
