"""What too little data cannot do, or none."""

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, RecipeError
from compressor.recipe.goal import Goal
from compressor.recipe.recipe import Recipe
from compressor.results.precision import STORED

HOLDOUT = 0.2
"""Share of the calibration samples kept out of calibration when there is no evaluation data."""


def require_data(
    recipe: Recipe, calibration: CalibrationSet | None, evaluation: CalibrationSet | None
) -> None:
    """Refuse what so much data cannot do, once it is open and before the model is.

    Raises:
        RecipeError: Pruning is asked for, and there is nothing to choose by.
        DataError: A budget is asked for, and there are no two samples to judge by.
    """
    if calibration is None or recipe.data.stats is not None:
        require_no_repair(recipe)
    if recipe.budget.allowed is not None:
        _require_judges(recipe, calibration, evaluation)


def require_no_repair(recipe: Recipe) -> None:
    """Refuse what chooses and refits weights by calibration samples, where there are none.

    Raises:
        RecipeError: Pruning or sparsity is asked for.
    """
    goal, sparsity = recipe.prune.goal, recipe.prune.sparsity
    asked = goal.flag if goal is not None and not is_for_bits(recipe, goal) else None
    asked = f"--sparsity {sparsity}" if asked is None and sparsity is not None else asked
    if asked is not None:
        raise RecipeError(
            f"{asked} needs calibration data to choose and refit what stays",
            hint="Pass --calib DATA, without --stats: statistics are of the whole graph.",
        )


def is_for_bits(recipe: Recipe, goal: Goal) -> bool:
    """Whether weights that are only stored smaller may reach a goal without pruning."""
    return goal.kind == "size" and recipe.quantize.mode in STORED


def require_two(found: int, of: int | None, asked: str) -> None:
    """One sample to compare candidates on, and another to confirm the chosen one.

    Args:
        found: How many judge.
        of: How many calibration samples they are the held-out part of; None for evaluation data.
        asked: The budget.

    Raises:
        DataError: There are too few.
    """
    if found >= 2:
        return
    needs = f"the budget of {asked} needs at least two samples to judge on"
    if of is None:
        raise DataError(
            f"{needs}, found one: candidates are compared on half of them, and the chosen one is "
            "confirmed on the other",
            hint="Add samples to --eval.",
        )
    enough = round(2 / HOLDOUT)
    raise DataError(
        f"{needs}: only the held-out fifth of the calibration samples judges, which is one of {of}",
        hint=f"Pass --eval, or --calib with {enough} samples or more.",
    )


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
