"""What cannot work for this recipe, target, kind of model and data: found out before anything runs.

Cheap questions come first. What depends on recipe and target is asked before anything is opened,
what depends on the kind of model before it is loaded, and what depends on the amount of data before
the model is captured. What depends on the graph is asked by the stages, right after that.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from calibration.dataset import CalibrationSet
from compressor.errors import DataError, OutputError, RecipeError, TargetError
from compressor.recipe.goal import Goal
from compressor.recipe.notation import parse_input
from compressor.recipe.paths import with_factory
from compressor.recipe.policy import policy_of
from compressor.recipe.recipe import ModelOptions, QuantizeOptions, Recipe
from compressor.results.precision import STORED
from compressor.system.extras import require_extra
from compressor.system.nearby import did_you_mean
from compressor.system.userfile import is_object_spec, load_object
from compressor.system.writable import why_not_writable
from exporters.base import Target, find_target, target_names

FEW_BITS = 4
"""Bits of a weight up to which rounding costs so much that training through it pays."""
HOLDOUT = 0.2
"""Share of the calibration samples kept out of calibration when there is no evaluation data."""


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
    _require_target(recipe, target)
    name = recipe.measure.metric
    require_features(recipe, find_metric)
    require_radius(recipe, find_metric)
    _require_budget(recipe, None if name is None else find_metric(name))
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


def _require_budget(recipe: Recipe, metric: Metric | None) -> None:
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


def _require_model_options(options: ModelOptions) -> None:
    if options.factory is None and options.args:
        raise RecipeError(
            "--model-args are arguments of the factory that --model names, and there is none",
            hint="Add --model file.py:factory.",
        )


def _require_target(recipe: Recipe, target: Target) -> None:
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
