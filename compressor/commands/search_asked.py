"""What is asked of a search, understood; what of it cannot be is refused before any work."""

from collections.abc import Sequence
from dataclasses import dataclass

from compressor.errors import UsageError
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.training import require_same_cache, require_same_form
from compressor.search.recipes.defaults import WIDEST
from compressor.search.recipes.folds import Validation, parse_validation
from compressor.search.recipes.limits import Limit, parse_limits, parse_pick
from compressor.search.recipes.samplers import require_sampler
from compressor.search.recipes.variables import meant

TRIALS = 60
"""Recipes that are tried where neither trials nor time are given."""


@dataclass(frozen=True)
class Asked:
    """What was asked for, understood."""

    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    validation: Validation
    pick: tuple[Limit, ...] | None
    trials: int | None
    seconds: float | None


def asked_of(recipe: Recipe) -> Asked:
    """What the recipe asks for; all that can be refused before any work is refused here."""
    options = recipe.search
    if recipe.pipeline.loop is not None or recipe.graphs:
        raise UsageError(
            "a search is of one model, and a pipeline of several graphs is given",
            hint="Search the graph that takes longest by itself: compress search MODEL.",
        )
    if recipe.prune.goal is not None:
        raise UsageError(
            f"{recipe.prune.goal.flag} is a goal of one run: a search tries several",
            hint='Limit the front, as --limit "latency<=2ms", or narrow `prune` in [search.space].',
        )
    require_same_form(recipe, "compress search")
    require_same_cache(recipe, "compress search")
    require_sampler(options.sampler, len(options.objectives))
    meant(WIDEST, options.space)
    limits = tuple(one for text in options.limits for one in parse_limits(text, "--limit"))
    picked = None if options.pick is None else parse_pick(options.pick)
    for limit in picked or ():
        if limit.objective not in options.objectives:
            raise no_objective(limit, options.objectives)
    return Asked(
        options.objectives,
        limits,
        parse_validation(options.validation),
        picked,
        options.trials or (None if recipe.budget.seconds is not None else TRIALS),
        recipe.budget.seconds,
    )


def no_objective(limit: Limit, objectives: Sequence[str]) -> UsageError:
    """Why a limit picks nothing: front points have no values of other objectives."""
    asked = ",".join((*objectives, limit.objective))
    return UsageError(
        f"--pick {limit}: {limit.objective} is no objective of this search",
        hint=f"Search with --objectives {asked}.",
    )
