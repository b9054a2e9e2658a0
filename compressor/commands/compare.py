"""`compress compare A B`: what B gains and loses over A, whatever the two are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir

from compressor.checkpoint.prepare import prepare
from compressor.checkpoint.prepared import Prepared
from compressor.commands.compare_pipelines import compare_pipelines
from compressor.commands.compress import with_features, with_loop_options
from compressor.commands.inspect import tidied
from compressor.commands.pipeline import loop_of
from compressor.commands.runtime_files import RuntimeFile, readable, runtime_file
from compressor.errors import UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.ruin import why_ruined
from compressor.graph import cache_notes, shared_cache
from compressor.graph.files import load_model
from compressor.graph.names import make_unique
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.metrics import require_features, require_radius
from compressor.recipe.targets import available_target
from compressor.results.environment import environment
from compressor.results.measurements import OutputResult, QualityResult
from compressor.results.report import Comparison
from compressor.search.measure import (
    Pair,
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
from exporters.base import Artifact, Target
from exporters.base.routed import RoutedTarget


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
        UsageError: The models take different inputs, or keep their caches otherwise.
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
    _require_like_caches(a, b)
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
    both = _Side(files[0], first), _Side(files[1], second)
    _require_same_inputs([one.model(one.prepared.model) for one in both], RoutedTarget(target))
    with scratch() as aside:
        return _measured(both, target, recipe, progress, Path(aside))


@dataclass(frozen=True)
class _Side:
    """One of the two.

    Attributes:
        file: The runtime's own file; None where it is a graph.
        prepared: Its graph and data.
    """

    file: RuntimeFile | None
    prepared: Prepared

    @property
    def name(self) -> str:
        """As it was given."""
        return self.prepared.name if self.file is None else str(self.file.path)

    def model(self, graph: ir.Model) -> ir.Model | Artifact:
        """What is measured: the file as it is, where there is one."""
        return graph if self.file is None else self.file.artifact


def _measured(
    both: tuple[_Side, _Side], target: Target, recipe: Recipe, progress: Progress, aside: Path
) -> Comparison:
    """B against A, by what is written aside."""
    first, second = (one.prepared for one in both)
    tidy = [tidied(one.prepared, recipe) for one in both]
    models = [one.model(graph) for one, graph in zip(both, tidy, strict=True)]
    built = drawn = _drafts(models, target, aside / "in")
    if first.noises:
        shipped = [
            one.model(one.prepared.as_shipped(graph)) for one, graph in zip(both, tidy, strict=True)
        ]
        built = _drafts(shipped, target, aside / "shipped")
    pair = Pair(built[0], *built, RoutedTarget(target), first, recipe, progress, drawn)
    feeds = pair.feeds(first.fixed_batch or 1)
    quality, outputs, reason, said = _quality(pair)
    unmeasured = target.why_not_measurable()
    unseen = why_no_memory(pair)
    runtimes = (one.file.target.runtime for one in both if one.file is not None)
    return Comparison(
        baseline=both[0].name,
        result=both[1].name,
        latency=() if unmeasured else measure_latency(pair),
        latency_reason=unmeasured,
        quality=quality,
        quality_reason=reason,
        outputs=outputs,
        memory=None if unseen else measure_memory(pair),
        memory_reason=unseen,
        baseline_size=size(built[0], first.model, feeds),
        result_size=size(built[1], second.model, feeds),
        notices=(*said, *surplus_threads(recipe), *first.phases.notices),
        environment=environment(target.runtime, *runtimes),
    )


def _quality(
    pair: Pair,
) -> tuple[tuple[QualityResult, ...], tuple[OutputResult, ...], str | None, tuple[str, ...]]:
    """Quality, every output by itself, why there is none, and what is to be said of it."""
    prepared = pair.prepared
    words = "calibration data" if prepared.evaluation is None else "evaluation data"
    data = prepared.calibration if prepared.evaluation is None else prepared.evaluation
    if data is None:
        return (), (), "no data: pass --eval or --calib", ()
    found = yardstick(prepared, pair.recipe, pair.target, data)
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


def _require_like_caches(*models: object) -> None:
    """Refuse one cache that only our loader and loops hand over, beside one that calls give.

    Raises:
        UsageError: One alone is such.
    """
    kinds = [_cache_of(one) for one in models]
    if len(set(kinds)) > 1:
        which = ", the other in ".join(kind for kind in kinds if kind is not None)
        raise UsageError(
            f"the models take different inputs: one keeps its cache in {which}",
            hint="Its own report holds it against the original; folders of results are compared by "
            "--pipeline text-generation.",
        )


def _cache_of(model: object) -> str | None:
    """How a file of ours keeps its cache, where that is not as the original does."""
    if not isinstance(model, (str, Path)) or Path(model).suffix != ".onnx":
        return None
    notes = load_model(Path(model)).metadata_props
    if shared_cache.NOTE in notes:
        return "buffers (--contrib)"
    return "integers (--kv-cache int8)" if cache_notes.NOTE in notes else None
