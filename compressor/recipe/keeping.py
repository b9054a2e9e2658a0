"""Where a run keeps what later ones may take."""

from compressor.recipe.recipe import Recipe
from compressor.system.cache import Cache, user_folder

default_folder = user_folder
"""Where nothing is said (`--cache`)."""


def cache_of(recipe: Recipe) -> Cache:
    """The cache of a run: the recipe's folder, else the user's; none where that is asked for."""
    if not recipe.data.reuse:
        return Cache(None)
    return Cache(recipe.data.cache or default_folder())
