"""What cannot work, found out before anything is loaded: cheap questions first.

Whatever depends on recipe, target, paths and the amount of data is asked here. What depends on the
graph is asked by the stages, right after it was captured.
"""

from pathlib import Path

from calibration.dataset import CalibrationSet
from compressor.capture import parse_input
from compressor.checkpoint import require_model
from compressor.errors import DataError, OutputError, RecipeError
from compressor.evaluation.metrics import find_metric
from compressor.plan.realize import policy_of
from compressor.recipe.recipe import ModelOptions, Recipe
from compressor.search.data_split import HOLDOUT
from compressor.search.precision.weight_only import require_mode
from compressor.search.pruning.sparsity_2_4 import require_sparsity
from compressor.search.quality_budget import require_two
from compressor.search.strategy import is_for_bits
from compressor.system.userfile import load_object
from compressor.system.writable import why_not_writable
from exporters.base import Target
from exporters.trt.options import TrtOptions


def require_sense(recipe: Recipe, target: Target) -> None:
    """Refuse what recipe and target tell to be impossible.

    Raises:
        RecipeError: Options contradict each other, or belong to one that is missing.
        UsageError: There is no such metric or loss.
        TargetError: The target has no kernels for the precision.
        OutputError: The folder for calibration statistics cannot be written.
    """
    require_mode(recipe.quantize, target)
    _require_target(recipe, target)
    _require_budget(recipe)
    _require_model_options(recipe.model)
    for text in recipe.model.inputs:
        parse_input(text)
    if recipe.measure.metric is not None:
        find_metric(recipe.measure.metric)
    if recipe.prune.loss is not None:
        load_object(recipe.prune.loss, "pruning loss", error=RecipeError)
    cache = recipe.data.cache
    reason = None if cache is None else why_not_writable(cache)
    if reason is not None:
        raise OutputError(
            f"calibration cache {cache} cannot be written: {reason}",
            hint="Choose another folder with --calib-cache, or leave it out.",
        )


def require_loadable(model: object, recipe: Recipe) -> None:
    """Refuse a path that is no model, and a factory that cannot be imported.

    Raises:
        CheckpointError: There is no such file, or it is of no kind that can be loaded.
    """
    if isinstance(model, str | Path):
        require_model(Path(model), recipe.model)


def require_data(
    recipe: Recipe, calibration: CalibrationSet | None, evaluation: CalibrationSet | None
) -> None:
    """Refuse what so much data cannot do, once it is open and before the model is.

    Raises:
        RecipeError: Pruning is asked for, and there is nothing to choose by.
        DataError: A budget is asked for, and there are no two samples to judge by.
    """
    goal, unseen = recipe.prune.goal, calibration is None or recipe.data.stats is not None
    if goal is not None and unseen and not is_for_bits(recipe, goal):
        raise RecipeError(
            f"{goal.flag} needs calibration data to choose and repair what stays",
            hint="Pass --calib DATA, without --stats: statistics are of the whole graph.",
        )
    if recipe.prune.sparsity is not None and unseen:
        raise RecipeError(
            f"--sparsity {recipe.prune.sparsity} needs calibration data to choose and refit what "
            "stays",
            hint="Pass --calib DATA, without --stats: statistics are of the whole graph.",
        )
    if recipe.budget.allowed is not None:
        _require_judges(recipe, calibration, evaluation)


def _require_judges(
    recipe: Recipe, calibration: CalibrationSet | None, evaluation: CalibrationSet | None
) -> None:
    asked = recipe.budget.max_drop or ""
    judging = evaluation
    if judging is None and calibration is not None and recipe.data.stats is None:
        judging = calibration
        if len(calibration) >= 2:
            _, judging = calibration.split(1 - HOLDOUT, recipe.seed)
    if judging is None:
        raise DataError(
            f"the budget of {asked} needs samples to judge on",
            hint="Pass --eval with labels, or --calib: a fifth of it is held out then.",
        )
    of = None if evaluation is not None or calibration is None else len(calibration)
    require_two(len(judging), of, asked)


def _require_budget(recipe: Recipe) -> None:
    budget = recipe.budget
    if budget.max_drop is None and (budget.time is not None or budget.accept != "bound"):
        raise RecipeError(
            "--budget and --time-budget belong to a quality budget, and there is none",
            hint="Add one, such as --max-drop 1%.",
        )
    allowed = budget.allowed
    if allowed is None:
        return
    if allowed.amount == 0 and budget.accept == "bound":
        raise RecipeError(
            f"the budget of {allowed.asked} cannot be confirmed: no number of samples proves that "
            "nothing at all is lost",
            hint="Allow a little, such as --max-drop 0.1%, or add --budget point, which takes the "
            "measured loss.",
        )
    if recipe.measure.metric is not None:
        metric = find_metric(recipe.measure.metric)
        allowed.require_hold(metric.name, higher_is_better=metric.higher_is_better)


def _require_model_options(options: ModelOptions) -> None:
    if options.factory is None and options.args:
        raise RecipeError(
            "--model-args are arguments of the factory that --model names, and there is none",
            hint="Add --model file.py:factory.",
        )


def _require_target(recipe: Recipe, target: Target) -> None:
    """Refuse what this target cannot do as asked.

    Raises:
        RecipeError: A speed is asked for where none is measured, or schemes that it misreads.
    """
    if recipe.target != "trt" and recipe.trt != TrtOptions():
        raise RecipeError(
            f"--precision and the other options of [trt] are not for the target {recipe.target!r}",
            hint="Pass --target trt with them.",
        )
    if recipe.target == "trt" and recipe.trt.precision == "fp8" and recipe.quantize.mode == "none":
        raise RecipeError(
            "--precision fp8 and --quantize none contradict each other: the first quantizes",
            hint="Leave one out; --precision fp16 quantizes nothing.",
        )
    require_sparsity(recipe, target)
    goal, reason = recipe.prune.goal, target.why_not_measurable()
    if goal is not None and goal.timed and reason is not None:
        raise RecipeError(
            f"{goal.flag} cannot be reached for the target {target.name!r}: {reason}",
            hint="Prune by --prune, --params or --size, or run where it can be measured.",
        )
    policy = policy_of(target, recipe.quantize)
    refusal = target.why_not_compatible(policy)
    if refusal is not None:
        raise RecipeError(refusal, hint="Leave --activation, --symmetric and --weight-bits to it.")
    if recipe.quantize.mode == "int8-dynamic" and not policy.dynamic:
        raise RecipeError(
            f"the target {target.name!r} does not quantize activations while it runs",
            hint="Pass --calib DATA, and leave --quantize at int8.",
        )
