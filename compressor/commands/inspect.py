"""`profile` and `inspect`: looking at a model without changing it."""

import onnx_ir as ir

from compressor.checkpoint.prepare import prepare
from compressor.checkpoint.prepared import Prepared
from compressor.errors import UsageError
from compressor.evaluation.profile import Profile, profile_model
from compressor.folding import fold
from compressor.pruning import find_groups
from compressor.pruning.coupling.summary import Inspection, summarize
from compressor.recipe.recipe import Recipe
from compressor.recipe.targets import available_target
from compressor.search.measure import (
    configurations,
    surplus_threads,
)
from compressor.system.progress import SILENT, Progress
from exporters import DEFAULT_TARGET
from exporters.base import Target
from exporters.base.form import advice


def profile(
    model: object,
    *,
    calibration: object = None,
    recipe: Recipe | None = None,
    progress: Progress = SILENT,
) -> Profile:
    """Where a model's time goes, in the deciding configuration.

    Args:
        model: A path or a live module, as for `compress`.
        calibration: Data to run it on; without any, random inputs of the declared shapes.
        recipe: Batch, threads, target and how to load.
        progress: Where progress is shown.

    Raises:
        CompressorError: See `compress`.
    """
    recipe = recipe or Recipe()
    target = available_target(recipe)
    reason = target.why_not_measurable()
    if reason is not None:
        raise UsageError(
            f"the target {target.name!r} cannot be profiled here: {reason}",
            hint=f"Profile where it runs, or with --target {DEFAULT_TARGET}.",
        )
    prepared = prepare(
        model,
        target=target,
        recipe=recipe,
        calibration=calibration,
        finished=True,
        progress=progress,
    )
    config = configurations(recipe, prepared)[0]
    for notice in surplus_threads(recipe):
        progress.notice(notice)
    with progress.stage("profile"):
        model = tidied(prepared, recipe)
        found = profile_model(
            prepared.as_shipped(model),
            prepared.timed(config, recipe.seed),
            target=target.name,
            threads=config.threads,
            source=prepared.name,
        )
    told = (*advice(target.forms, model), *cache_advice(target, model))
    return found.model_copy(update={"advice": told})


def cache_advice(target: Target, model: ir.Model) -> tuple[str, ...]:
    """What a decoder's cache can be instead, in a sentence; none of other graphs."""
    caches = target.shared_caches
    if caches is None or caches.why_not_here() is not None:
        return ()
    found = caches.find_shared(model)
    if isinstance(found, str):
        return ()
    first, *others = found
    more = f" and {len(others)} more" if others else ""
    return (
        f"the cache ({first}{more}) is copied to be appended to, and need not be: "
        "compress --contrib takes what it measures faster",
    )


def inspect(
    model: object,
    *,
    calibration: object = None,
    recipe: Recipe | None = None,
    progress: Progress = SILENT,
) -> Inspection:
    """What could be pruned from a model: groups of coupled channels, heads and hidden units.

    Args:
        model: A path or a live module, as for `compress`.
        calibration: Data that tells the shapes; without any, random inputs of the declared ones.
        recipe: How to load.
        progress: Where progress is shown.

    Raises:
        CompressorError: See `compress`.
    """
    recipe = recipe or Recipe()
    target = available_target(recipe)
    prepared = prepare(
        model, target=target, recipe=recipe, calibration=calibration, progress=progress
    )
    with progress.stage("inspect"):
        folded = tidied(prepared, recipe)
        feeds = prepared.feeds(prepared.fixed_batch or 2, recipe.seed)
        return summarize(folded, find_groups(folded, feeds), prepared.name)


def tidied(prepared: Prepared, recipe: Recipe) -> ir.Model:
    """An exporter's graph is folded first, as nobody deploys its raw form; ONNX stays as it is."""
    if prepared.is_onnx:
        return prepared.model
    feeds = prepared.feeds(prepared.fixed_batch or 2, recipe.seed)
    return fold(prepared.model, feeds=feeds)[0]
