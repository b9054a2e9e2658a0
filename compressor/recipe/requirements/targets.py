"""What a target cannot do as it is asked."""

from compressor.errors import RecipeError, TargetError
from compressor.recipe.policy import policy_of
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.results.precision import STORED
from exporters.base import Target, find_target, target_names


def require_mode(options: QuantizeOptions, target: Target) -> None:
    """Refuse what the target's runtime or its own section of the recipe excludes.

    Raises:
        TargetError: It has no kernels for weights of that kind.
        RecipeError: Its own section contradicts it.
    """
    if options.kv_cache != "float" and not target.integer_caches:
        raise RecipeError(
            f"--kv-cache {options.kv_cache} is of integers that products read as they are, which "
            f"{target.title} is not given",
            hint="Leave it out, or choose --target ort.",
        )
    if options.contrib:
        _require_shared_caches(target)
    refused = target.why_not_mode(options.mode)
    if refused is not None:
        error = TargetError if options.mode in STORED else RecipeError
        raise error(refused.reason, hint=refused.hint)


def _require_shared_caches(target: Target) -> None:
    if target.shared_caches is None:
        raise RecipeError(
            f"--contrib is of an operator of ONNX Runtime's own, and {target.title} has none such",
            hint="Leave it out, or choose --target ort.",
        )
    lacking = target.shared_caches.why_not_here()
    if lacking is not None:
        raise TargetError(
            f"--contrib: {lacking}", hint="Install a later one (1.31 has it), or leave it out."
        )


def require_target(recipe: Recipe, target: Target) -> None:
    """Refuse what this target cannot do as asked.

    Raises:
        RecipeError: A speed is asked for where none is measured, or schemes that it misreads.
    """
    for name, options in recipe.of_targets.items():
        if name != recipe.target and options.chosen:
            raise RecipeError(
                f"{options.chosen[0]} and the other options of [{name}] are not for the target "
                f"{recipe.target!r}",
                hint=f"Pass --target {name} with them.",
            )
    _require_sparsity(recipe, target)
    goal, reason = recipe.prune.goal, target.why_not_measurable()
    if goal is not None and goal.timed and reason is not None:
        raise RecipeError(
            f"{goal.flag} cannot be reached for the target {target.name!r}: {reason}",
            hint="Prune by --prune, --params or --size, or run where it can be measured.",
        )
    policy = policy_of(target, recipe.quantize)
    refused = target.why_not_compatible(policy)
    if refused is not None:
        raise RecipeError(refused.reason, hint=refused.hint)
    if recipe.quantize.mode == "int8-dynamic" and not policy.dynamic:
        raise RecipeError(
            f"the target {target.name!r} does not quantize activations while it runs",
            hint="Pass --calib DATA, and leave --quantize at int8.",
        )


def _require_sparsity(recipe: Recipe, target: Target) -> None:
    """Refuse a pattern of zeros that no kernel would skip.

    Raises:
        RecipeError: It was asked for, and the target or the precision cannot use it.
    """
    asked = recipe.prune.sparsity
    if asked is None:
        return
    if asked not in target.sparsities:
        raise RecipeError(
            f"--sparsity {asked} is not for the target {target.name!r}, which has no kernels that "
            "skip zeros",
            hint=_elsewhere(asked),
        )
    if recipe.quantize.mode in STORED:
        raise RecipeError(
            f"--sparsity {asked} and weights in {recipe.quantize.mode} contradict each other: "
            "kernels that read weights in fewer bits skip no zeros",
            hint="Choose one.",
        )


def _elsewhere(sparsity: str) -> str:
    """What to do where a target skips no zeros."""
    able = [name for name in target_names() if sparsity in find_target(name).sparsities]
    first = f"Pass --target {' or '.join(able)}, or prune" if able else "Prune"
    return f"{first} whole channels with --prune."
