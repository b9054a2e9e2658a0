"""What is quantized, and how, by what the target prefers and the recipe asks for."""

from dataclasses import replace

from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from exporters.base import QuantPolicy, Target


def policy_of(target: Target, options: QuantizeOptions) -> QuantPolicy:
    """The target's policy for the deployment CPU, with the schemes that were asked for."""
    policy = target.policy(options.cpu).with_schemes(
        activation=options.activation,
        symmetric=options.symmetric,
        weight_bits=options.weight_bits,
        granularity=options.granularity,
    )
    return as_asked(policy, options)


def as_asked(policy: QuantPolicy, options: QuantizeOptions) -> QuantPolicy:
    """Without ranges that are found at run time where `int8-static` forbids those."""
    if options.mode != "int8-static":
        return policy
    return replace(policy, dynamic=frozenset(), barred=policy.dynamic)


def as_implied(recipe: Recipe, target: Target) -> Recipe:
    """The recipe with what the target's own options say of its section [quantize]."""
    update = target.implied(recipe.quantize.model_dump())
    return recipe.model_copy(update={"quantize": recipe.quantize.model_copy(update=update)})
