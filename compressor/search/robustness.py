"""Robust accuracy in place of the metric that was asked for, where the graph has gradients."""

from dataclasses import replace

from calibration.dataset import CalibrationSet
from compressor.errors import RecipeError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.robust_accuracy import RobustAccuracy
from compressor.evaluation.views import only
from compressor.evaluation.yardstick import Yardstick
from compressor.recipe.recipe import Recipe
from exporters.base import Runner

PLAIN = "accuracy"
"""What stands beside it, and decides where there is no budget."""


def under_attack(
    found: Yardstick, original: Runner, data: CalibrationSet, recipe: Recipe, batch: int
) -> Yardstick:
    """A yardstick of accuracy, with robust accuracy beside it.

    A budget holds the robust accuracy, which comes first then. Without one nothing may depend on
    it: that of a model that was never trained for it is small, and a share of it says little.

    Args:
        found: The yardstick of accuracy.
        original: The model, whose graph is known.
        data: The samples that judge; changed inputs stay within their range.
        recipe: Radius and steps.
        batch: Samples per inference.

    Raises:
        RecipeError: There is a budget, and the original cannot be attacked.
    """
    # Only here, so that a job that attacks nothing never imports torch.
    from compressor.training.attacks import GraphAttacks, ranges_of  # noqa: PLC0415

    options, metric = recipe.measure, find_metric("robust_accuracy")
    assert options.radius is not None, "it was required"
    assert isinstance(metric, RobustAccuracy), "the metric of that name"
    ranges = ranges_of(step.inputs for step in data.batches(batch))
    attacks = GraphAttacks(options.radius, options.attack_steps, ranges, recipe.seed)
    shown = original if found.primary is None else only({"": original}, [found.primary])[""]
    reason = attacks.why_not(shown, data)
    if reason is None:
        robust = metric.under(attacks)
        asked = recipe.budget.allowed is not None
        metrics = (*robust[:1], *found.metrics, *robust[1:]) if asked else (*found.metrics, *robust)
        notices = (*found.notices, radius_words(recipe))
        return replace(found, metrics=metrics, notices=notices)
    if recipe.budget.allowed is not None:
        raise RecipeError(
            f"the budget of {recipe.budget.allowed.asked} in {metric.name} cannot be held, as the "
            f"model cannot be attacked: {reason}",
            hint=f"Hold it in {PLAIN}, or leave --max-drop out.",
        )
    return replace(
        found, notices=(*found.notices, f"{metric.name} is not measured, {PLAIN} is: {reason}")
    )


def radius_words(recipe: Recipe) -> str:
    """How far inputs may change, in their own units and in those before the preprocessing."""
    radius, std = recipe.measure.radius or 0.0, recipe.data.preprocess.std
    told = f"attacks change each number that the model is fed by at most {radius:.4g}"
    if std is None:
        return told
    ends = sorted({f"{radius * one:.3g}" for one in (min(std), max(std))}, key=float)
    return f"{told}, which is {' to '.join(ends)} of a value before --std"
