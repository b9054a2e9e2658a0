"""The target that a recipe names, as it is configured there."""

from compressor.errors import TargetError
from compressor.recipe.recipe import Recipe
from exporters.base import Target, find_target


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
