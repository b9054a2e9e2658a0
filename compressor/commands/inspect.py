"""`profile`, `compare` and `inspect`: looking at models without changing them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint.prepare import Prepared, prepare
from compressor.commands.compare_pipelines import compare_pipelines
from compressor.commands.compress import available_target, with_features, with_loop_options
from compressor.commands.pipeline import loop_of
from compressor.commands.runtime_files import RuntimeFile, readable, runtime_file
from compressor.errors import UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.profile import Profile, profile_model
from compressor.evaluation.ruin import why_ruined
from compressor.folding import fold
from compressor.graph.names import make_unique
from compressor.pruning import find_groups
from compressor.pruning.coupling.summary import Inspection, summarize
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements import require_features, require_radius
from compressor.results.environment import environment
from compressor.results.measurements import OutputResult, QualityResult
from compressor.results.report import Comparison
from compressor.search.measure import (
    Pair,
    configurations,
    measure_latency,
    measure_memory,
    measure_quality,
    size,
    surplus_threads,
    why_no_memory,
    yardstick,
)
from compressor.system.progress import SILENT, Progress
from compressor.system.scratch import scratch
from exporters import DEFAULT_TARGET
from exporters.base import Artifact, Target
from exporters.base.form import advice
from exporters.base.routed import RoutedTarget


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
        model = _tidied(prepared, recipe)
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
        folded = _tidied(prepared, recipe)
        feeds = prepared.feeds(prepared.fixed_batch or 2, recipe.seed)
        return summarize(folded, find_groups(folded, feeds), prepared.name)


def compare(  # noqa: PLR0913 - a front door: all but the models is optional and named
    a: object,
    b: object,
    *,
    calibration: object = None,
    evaluation: object = None,
    recipe: Recipe | None = None,
    pipeline: object = None,
    pipeline_options: Mapping[str, Any] | None = None,
    units: int | None = None,
    features: object = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Measure two models against each other: B's gain and loss over A.

    Args:
        a: The baseline: a path or a live module; of a pipeline the folder of a result.
        b: What it is compared with, likewise.
        calibration: Data for latency, and for agreement when there is no evaluation data.
        evaluation: Labelled data.
        recipe: Batch, threads, target, metric and how to load.
        pipeline: A loop over the graphs of both results: what it makes of them is compared.
        pipeline_options: Options of a built-in loop, laid over the recipe's.
        units: How many generated units judge then.
        features: The feature model of metrics such as `fid`, as for `compress`.
        progress: Where progress is shown.

    Raises:
        UsageError: The models take different inputs.
        CompressorError: See `compress`.
    """
    recipe = with_features(recipe or Recipe(), features)
    recipe = with_loop_options(recipe, pipeline_options)
    target = available_target(recipe)
    require_features(recipe, find_metric)
    require_radius(recipe, find_metric)
    pipeline = recipe.pipeline.loop if pipeline is None else pipeline
    if pipeline is not None:
        loop = loop_of(pipeline, (calibration, evaluation), recipe)
        units = units or recipe.pipeline.units
        return compare_pipelines(
            a,
            b,
            loop,
            target=RoutedTarget(target),
            recipe=recipe,
            units=units,
            progress=progress,
        )
    files = runtime_file(a), runtime_file(b)
    first, second = (
        prepare(
            model,
            target=target,
            recipe=recipe,
            calibration=calibration,
            evaluation=evaluation,
            progress=progress,
        )
        for model in readable((a, b), files)
    )
    first, second = _same_noise(first, second)
    second = _aligned(first, second)
    first, second = (
        one if file is None else replace(one, name=str(file.path))
        for one, file in zip((first, second), files, strict=True)
    )
    routed = RoutedTarget(target)
    both = tuple(zip(files, (first, second), strict=True))
    _require_same_inputs([_of(file, one.model) for file, one in both], routed)
    data = first.calibration if first.evaluation is None else first.evaluation
    unmeasured, unseen = target.why_not_measurable(), target.why_not_memory_measurable()
    with scratch() as aside:
        tidied = [_of(file, _tidied(one, recipe)) for file, one in both]
        drawn = _drafts(tidied, target, Path(aside) / "in")
        built = drawn
        if first.noises:
            shipped = [_of(file, one.as_shipped(_tidied(one, recipe))) for file, one in both]
            built = _drafts(shipped, target, Path(aside) / "shipped")
        pair = Pair(built[0], built[0], built[1], routed, first, recipe, progress, drawn)
        words = "calibration data" if first.evaluation is None else "evaluation data"
        feeds = pair.feeds(first.fixed_batch or 1)
        quality, outputs, reason, said = _quality(pair, data, words)
        return Comparison(
            baseline=first.name,
            result=second.name,
            latency=() if unmeasured else measure_latency(pair),
            latency_reason=unmeasured,
            quality=quality,
            quality_reason=reason,
            outputs=outputs,
            memory=None if unseen or why_no_memory(pair) else measure_memory(pair),
            memory_reason=unseen or why_no_memory(pair),
            baseline_size=size(built[0], first.model, feeds),
            result_size=size(built[1], second.model, feeds),
            notices=(*said, *surplus_threads(recipe), *first.phases.notices),
            environment=environment(
                target.runtime, *(file.target.runtime for file in files if file is not None)
            ),
        )


def _of(file: RuntimeFile | None, model: ir.Model) -> ir.Model | Artifact:
    """What is measured: the file as it is, where there is one."""
    return model if file is None else file.artifact


def _quality(
    pair: Pair, data: CalibrationSet | None, words: str
) -> tuple[tuple[QualityResult, ...], tuple[OutputResult, ...], str | None, tuple[str, ...]]:
    """Quality, every output by itself, why there is none, and what is to be said of it."""
    if data is None:
        return (), (), "no data: pass --eval or --calib", ()
    found = yardstick(pair.prepared, pair.recipe, pair.target, data)
    quality, outputs = measure_quality(pair, data, words, found)
    noisy = any(one.noisy for one in found.seen.outputs)  # ruins nothing by differing
    why = None if noisy else why_ruined(quality, outputs)
    said = () if why is None else (f"the result's outputs are ruined: {why}",)
    return quality, outputs, found.reason, (*found.notices, *said)


def _drafts(
    models: Sequence[ir.Model | Artifact], target: Target, folder: Path
) -> tuple[Artifact, Artifact]:
    """Two models as they are measured."""
    made = []
    for model, name in zip(models, "ab", strict=True):
        if isinstance(model, ir.Model):
            (folder / name).mkdir(parents=True)
            made.append(target.draft(model, folder / name))
        else:
            made.append(model)
    return made[0], made[1]


def _same_noise(first: Prepared, second: Prepared) -> tuple[Prepared, Prepared]:
    """Both with what they draw as inputs where these are the same; else both draw inside."""
    inputs = [{n.spec.name: (str(n.spec), n.draw.kind) for n in p.noises} for p in (first, second)]
    if inputs[0] == inputs[1]:
        return first, second
    drawn = [replace(p, model=p.as_shipped(p.model), noises=()) for p in (first, second)]
    return drawn[0], drawn[1]


def _tidied(prepared: Prepared, recipe: Recipe) -> ir.Model:
    """An exporter's graph is folded first, as nobody deploys its raw form; ONNX stays as it is."""
    if prepared.is_onnx:
        return prepared.model
    feeds = prepared.feeds(prepared.fixed_batch or 2, recipe.seed)
    return fold(prepared.model, feeds=feeds)[0]


def _aligned(first: Prepared, second: Prepared) -> Prepared:
    """A single input binds by position whatever its name, here as everywhere."""
    names = [[value.name for value in p.model.graph.inputs] for p in (first, second)]
    if names[0] == names[1] or [len(of_one) for of_one in names] != [1, 1]:
        return second
    model = second.model.clone()
    model.graph.inputs[0].name = names[0][0]
    make_unique(model)
    return replace(second, model=model)


def _require_same_inputs(models: Sequence[ir.Model | Artifact], target: Target) -> None:
    """One set of feeds must serve both."""
    first, second = (m if isinstance(m, ir.Model) else m.model for m in models)
    with target.open(first) as a, target.open(second) as b:
        if {(s.name, s.dtype) for s in a.inputs} != {(s.name, s.dtype) for s in b.inputs}:
            left, right = (", ".join(map(str, r.inputs)) for r in (a, b))
            raise UsageError(
                f"the models take different inputs: {left} against {right}",
                hint="Compare models of the same signature.",
            )
