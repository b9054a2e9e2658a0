"""What cannot work for this recipe, target, kind of model and data: found out before anything runs.

Cheap questions come first. What depends on recipe and target is asked before anything is opened,
what depends on the kind of model before it is loaded, and what depends on the amount of data before
the model is captured. What depends on the graph is asked by the stages, right after that.
"""

from compressor.errors import OutputError, RecipeError, TargetError
from compressor.recipe.loading import ModelOptions
from compressor.recipe.notation import parse_input
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.metrics import (
    FindMetric,
    require_budget,
    require_features,
    require_radius,
)
from compressor.recipe.requirements.targets import require_mode, require_target
from compressor.recipe.requirements.training import require_training
from compressor.system.extras import require_extra
from compressor.system.userfile import load_object
from compressor.system.writable import why_not_writable
from exporters.base import Target


def require_sense(recipe: Recipe, target: Target, find_metric: FindMetric) -> None:
    """Refuse what recipe and target tell to be impossible.

    Args:
        recipe: What is asked for.
        target: The target, configured by the recipe.
        find_metric: Finds metrics by name.

    Raises:
        RecipeError: Options contradict each other, or belong to one that is missing.
        UsageError: There is no such metric or loss.
        TargetError: The target has no kernels for the precision.
        OutputError: The folder of the cache cannot be written.
    """
    require_training(recipe)
    if recipe.train.exits is not None and not target.branches:
        raise TargetError(
            f"--exits ships a graph that branches (If), which {target.title} is not given",
            hint="Leave --exits out, or choose --target ort.",
        )
    if recipe.prune.method == "taylor":
        require_extra("torch", "torch", "importance by 'taylor'")
    if recipe.package is not None and target.own_files:
        raise RecipeError(
            f"--package {recipe.package} is of ONNX files, and the artifact for {target.title} is "
            f"none ({', '.join(target.own_files)})",
            hint="Leave it out, or choose --target ort.",
        )
    require_mode(recipe.quantize, target)
    require_target(recipe, target)
    name = recipe.measure.metric
    require_features(recipe, find_metric)
    require_radius(recipe, find_metric)
    require_budget(recipe, None if name is None else find_metric(name))
    _require_model_options(recipe.model)
    of_graphs = (text for graph in recipe.graphs.values() for text in graph.inputs)
    for text in (*recipe.model.inputs, *of_graphs):
        parse_input(text)
    if recipe.prune.loss is not None:
        load_object(recipe.prune.loss, "pruning loss", error=RecipeError)
    cache = recipe.data.cache
    reason = None if cache is None else why_not_writable(cache)
    if reason is not None:
        raise OutputError(
            f"the cache {cache} cannot be written: {reason}",
            hint="Choose another folder with --cache, or leave it out.",
        )


def _require_model_options(options: ModelOptions) -> None:
    if options.factory is None and options.args:
        raise RecipeError(
            "--model-args are arguments of the factory that --model names, and there is none",
            hint="Add --model file.py:factory.",
        )
