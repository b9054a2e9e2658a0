"""What training, early exits and other attention need."""

from compressor.errors import RecipeError
from compressor.recipe.quantizing import QuantizeOptions
from compressor.recipe.recipe import Recipe
from compressor.system.extras import require_extra
from compressor.system.userfile import load_object

FEW_BITS = 4
"""Bits of a weight up to which rounding costs so much that training through it pays."""


def require_training(recipe: Recipe) -> None:
    """Refuse a training that has nothing to bring back, or no torch to run in.

    Raises:
        RecipeError: Nothing is pruned, or training is not asked for and its data is given.
        UsageError: torch is not installed, or the device is not there.
    """
    options = recipe.train
    if options.attention is not None:
        _require_attention(recipe)
    if not options.learns:
        if options.data is not None:
            raise RecipeError(
                "--train-data belongs to a training, and none is asked for",
                hint="Say how long, such as --train 5m.",
            )
        return
    if options.exits is not None:
        require_exits(recipe)
    if options.asked is None:
        return
    if recipe.pipeline.loop is not None:
        raise RecipeError(
            "--train is of single models, and a pipeline is given",
            hint="Train each graph by itself with `compress train`.",
        )
    pruned = recipe.prune.goal is not None
    pruned = pruned or (recipe.budget.max_drop is not None and not recipe.prune.off)
    if not (pruned or _has_few_bits(recipe.quantize) or options.attention):
        raise RecipeError(
            "--train brings back what pruning or few bits took, and neither is asked for",
            hint="Add --prune 30%, --max-drop 1% or --quantize int4, or train alone with "
            "`compress train`.",
        )
    require_extra("torch", "torch", "training")
    if options.loss is not None:
        load_object(options.loss, "training loss", error=RecipeError)


def _require_attention(recipe: Recipe) -> None:
    """Refuse other attention that nothing teaches what the original's computes.

    Raises:
        RecipeError: There is no training, or no data of its own, or several graphs.
    """
    if recipe.pipeline.loop is not None:
        raise RecipeError(
            "--attention is of single models, and a pipeline is given",
            hint="Compress each graph by itself.",
        )
    if recipe.train.length is None:
        raise RecipeError(
            "--attention changes what is computed, which training has to bring back, and none is "
            "asked for",
            hint="Say how long, such as --train 10m.",
        )


def _has_few_bits(options: QuantizeOptions) -> bool:
    """Whether weights get so few bits that training through them gains something."""
    bits = options.weight_bits
    return options.mode == "int4" or (bits is not None and bits <= FEW_BITS)


def require_exits(recipe: Recipe) -> None:
    """Refuse early exits that nothing says how sure they have to be, or without torch.

    Raises:
        RecipeError: There is no budget, or several graphs.
        UsageError: torch is not installed.
    """
    if recipe.pipeline.loop is not None:
        raise RecipeError(
            "--exits is of single classifiers, and a pipeline is given",
            hint="Compress each graph by itself.",
        )
    if recipe.budget.max_drop is None:
        raise RecipeError(
            "--exits needs a quality budget, which says how sure a sample has to be to leave",
            hint="Add --max-drop 1%.",
        )
    require_extra("torch", "torch", "training of exits")


def require_same_form(recipe: Recipe, command: str) -> None:
    """Refuse early exits and other attention where a command would not make them.

    Raises:
        RecipeError: They are asked for.
    """
    if recipe.train.attention is not None:
        raise RecipeError(
            f"--attention is of compress alone, and `{command}` gives no layer another one",
            hint="Run `compress MODEL --attention window:128 --train 10m`.",
        )
    if recipe.train.exits is not None:
        raise RecipeError(
            f"--exits is of compress alone, and `{command}` gives no graph exits",
            hint="Run `compress MODEL --exits N --max-drop 1%` on what it writes.",
        )


def require_same_cache(recipe: Recipe, command: str) -> None:
    """Refuse other caches of a decoder where a command varies none.

    Raises:
        RecipeError: They are asked for.
    """
    if recipe.quantize.kv_cache != "float" or recipe.quantize.contrib:
        flag = "--contrib" if recipe.quantize.contrib else "--kv-cache"
        raise RecipeError(
            f"{flag} is of compress alone, and `{command}` leaves a decoder's cache as it is",
            hint=f"Run `compress MODEL {flag}` by itself.",
        )
