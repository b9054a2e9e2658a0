"""`compress search`: the front between speed, size and quality of one model on one target."""

from pathlib import Path

from compressor.checkpoint import require_model
from compressor.commands.request import output_folder
from compressor.commands.search_asked import asked_of
from compressor.commands.search_folder import prepare_folder, with_cache
from compressor.commands.search_job import SearchSpec, job_of
from compressor.commands.search_pick import with_picked
from compressor.evaluation.metrics import find_metric
from compressor.layerwise.factor import own_threads
from compressor.recipe.paths import read_by
from compressor.recipe.policy import as_implied
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.sense import require_sense
from compressor.recipe.targets import available_target
from compressor.results.front import SearchReport
from compressor.search.recipes.ownership import held
from compressor.system.progress import SILENT, Progress
from compressor.system.stopwatch import Stopwatch
from compressor.system.workers import workers_of


def search(  # noqa: PLR0913 - as `compress`: all but the model is optional and named
    model: object,
    *,
    target: str | None = None,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | None = None,
    output: str | Path | None = None,
    workers: int | str = 1,
    force: bool = False,
    progress: Progress = SILENT,
    command: str | None = None,
) -> SearchReport:
    """Search recipes for the front between latency, quality, size and memory.

    Args:
        model: A path or a live module, as for `compress`.
        target: The runtime's name; the recipe's by default.
        calibration: Data that ranges, scores and repairs are of, as for `compress`.
        evaluation: Data that judges: half of it searches, the other half confirms what is picked.
        recipe: What is asked for; its section `search` says what is varied and minimized.
        output: The folder of the study and its result; default: the checkpoint's name with
            "-TARGET-search" beside it. A search that was broken off goes on there.
        workers: Processes here that evaluate trials at the same time, or the address of a Ray
            cluster, `auto` for the one that runs here; its nodes see the same files.
        force: Begin anew where the folder holds anything else.
        progress: Where progress is shown.
        command: The command line, for the report.

    Returns:
        The front, which was also written as `front.json`, `front.html` and `front.md`. What
        `search.pick` asked for lies in `picked`, as `compress` writes it.

    Raises:
        UsageError: Optuna is missing, or the study in the storage is of something else.
        RecipeError: A variable, limit or validation is not understood, or nothing varies.
        GoalError: Nothing on the front is what `search.pick` asks for; the front is written.
        BudgetError: The samples that no trial has seen do not confirm what was picked, which is
            written all the same.
        CompressorError: As for `compress`.
        KeyboardInterrupt: What was found so far is written, and the same call goes on with it.
    """
    watch = Stopwatch()
    recipe = recipe or Recipe()
    recipe = recipe if target is None else recipe.model_copy(update={"target": target})
    backend = available_target(recipe)
    recipe = as_implied(recipe, backend)
    asked = asked_of(recipe)
    require_sense(recipe, backend, find_metric)
    folder = output_folder(model, recipe, output, "-search")
    prepare_folder(folder, force, read_by(recipe, model, calibration, evaluation))
    require_model(model, recipe)
    with held(folder):
        spec = SearchSpec(model, calibration, evaluation, with_cache(recipe, folder), folder)
        several = workers_of(str(workers))
        if several is not None:
            spec.require_readable()
        job = job_of(spec, asked, progress)
        with own_threads():
            report = job.run(watch, command, spec, several)
            if asked.pick is not None:
                report = with_picked(job, report, model, watch, command)
    return report
