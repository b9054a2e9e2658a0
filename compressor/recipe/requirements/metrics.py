"""What a metric needs to say anything, and a budget to hold it."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, RecipeError
from compressor.recipe.paths import with_factory
from compressor.recipe.recipe import Recipe
from compressor.system.extras import require_extra
from compressor.system.nearby import did_you_mean
from compressor.system.userfile import is_object_spec, load_object


class Metric(Protocol):
    """What is asked of a metric before anything is measured."""

    @property
    def name(self) -> str:
        """As the user calls it."""

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""

    @property
    def needs_labels(self) -> bool:
        """Whether it says nothing without labels."""

    @property
    def needs_features(self) -> bool:
        """Whether it is taken in the features of a model."""

    @property
    def needs_gradients(self) -> bool:
        """Whether it attacks inputs, by gradients of the graph."""

    @property
    def relative(self) -> bool:
        """Whether a share of the original's own value means something."""


FindMetric = Callable[[str], Metric]
"""From `measure.metric` of a recipe to the metric; raises UsageError where there is none."""


def require_features(recipe: Recipe, find_metric: FindMetric) -> None:
    """Refuse a metric without the features that it is taken in, and features that none takes.

    Args:
        recipe: Which metric, and which features.
        find_metric: Finds metrics by name.

    Raises:
        RecipeError: One of both is missing, or there is no such file.
        UsageError: There is no such metric, or the function cannot be imported.
    """
    given, name = recipe.measure.features, recipe.measure.metric
    metric = None if name is None else find_metric(name)
    if given is None:
        if metric is not None and metric.needs_features:
            raise RecipeError(
                f"metric {metric.name} is taken in the features of a model, and none is given",
                hint="Pass --features FILE: an ONNX file, a checkpoint, or file.py:function that "
                "makes features of what is judged.",
            )
        return
    if metric is None or not metric.needs_features:
        asked = "no metric is named" if metric is None else f"metric {metric.name} takes none"
        raise RecipeError(
            f"features are given, and {asked}",
            hint="Choose a metric in a feature space, such as --metric fid, or leave them out.",
        )
    if not isinstance(given, str | Path):
        return
    path, factory = with_factory(str(given))
    for spec in (path, factory):
        if spec is not None and is_object_spec(spec):
            load_object(spec, "features")
    if not is_object_spec(path) and not Path(path).exists():
        raise RecipeError(
            f"features {given}: there is no file {path}",
            hint=did_you_mean(Path(path))
            or "Pass an ONNX file, a checkpoint, or file.py:function.",
        )


def require_radius(recipe: Recipe, find_metric: FindMetric) -> None:
    """Refuse attacks that may go nowhere, or that have nothing to attack.

    Args:
        recipe: Which metric, and how far inputs may change.
        find_metric: Finds metrics by name.

    Raises:
        RecipeError: There is no radius, or no metric that takes one, or a pipeline is given.
        UsageError: There is no such metric, or torch is not installed.
    """
    options = recipe.measure
    metric = None if options.metric is None else find_metric(options.metric)
    if metric is None or not metric.needs_gradients:
        if options.radius is not None:
            raise RecipeError(
                "--radius is of attacks, and the metric makes none",
                hint="Add --metric robust_accuracy, or leave it out.",
            )
        return
    if recipe.pipeline.loop is not None:
        raise RecipeError(
            f"metric {metric.name} attacks the inputs of single models, and a pipeline is given",
            hint="Measure each graph by itself.",
        )
    if options.radius is None:
        raise RecipeError(
            f"metric {metric.name} says nothing without a radius, how far attacks change inputs",
            hint="Add one in units of what the model is fed, such as --radius 0.03.",
        )
    require_extra("torch", "torch", f"metric {metric.name}")


def require_labels(
    recipe: Recipe,
    calibration: CalibrationSet | None,
    evaluation: CalibrationSet | None,
    find_metric: FindMetric,
) -> None:
    """Refuse a metric that needs labels where what judges has none, before the model is captured.

    Args:
        recipe: Which metric.
        calibration: Calibration data, told from its labels by what the model takes.
        evaluation: Evaluation data, told from its labels in the same way.
        find_metric: Finds metrics by name.

    Raises:
        DataError: There are none.
    """
    judging = calibration if evaluation is None else evaluation
    name = recipe.measure.metric
    if name is None or judging is None or judging.has_labels:
        return
    if find_metric(name).needs_labels:
        raise DataError(
            f"metric {name} needs labels; {judging.description} has none",
            hint="Give evaluation data with an array `label` by --eval, or choose --metric cosine, "
            "which compares with the original and needs none.",
        )


def require_budget(recipe: Recipe, metric: Metric | None) -> None:
    """Refuse a budget that nothing can hold, and what belongs to one where there is none.

    Raises:
        RecipeError: There is none, it allows nothing, or it is not of this metric.
    """
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
    if metric is not None:
        allowed.require_hold(metric.name, higher_is_better=metric.higher_is_better)
    if metric is not None and allowed.relative and not metric.relative:
        raise RecipeError(
            f"{allowed.asked} of the original's {metric.name} allows nothing: against itself that "
            "is 0",
            hint="Give the budget in the metric's own unit, such as --max-drop 0.01pt.",
        )
