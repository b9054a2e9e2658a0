"""From what the user names to a captured graph with data bound to its inputs."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from calibration.batch import Batch
from calibration.dataset import CalibrationSet, open_dataset
from calibration.encoders.finding import encoders_of
from calibration.encoders.model_folder import model_folder
from calibration.noise import NoiseInputs
from compressor.capture import Captured, capture
from compressor.capture.noise_inputs import listed
from compressor.capture.peculiar import graph_not_finite, module_not_finite
from compressor.capture.signature import taken, told
from compressor.capture.source import ModelSource
from compressor.checkpoint import load_checkpoint, source_of
from compressor.checkpoint.data import Data, opened, part_of
from compressor.checkpoint.eager_latency import eager_latency
from compressor.checkpoint.hub_cache import located
from compressor.checkpoint.kept_capture import Question, captured_once
from compressor.checkpoint.phases import Phases, phases_of
from compressor.checkpoint.prepared import Prepared, open_sizes
from compressor.checkpoint.source_inputs import called_by, own_inputs, told_by
from compressor.checkpoint.torchvision_entry import entry_name
from compressor.errors import UsageError
from compressor.evaluation.metrics import find_metric
from compressor.graph.batch import batch_axes
from compressor.graph.shapes import input_specs
from compressor.graph.shared_cache import NOTE
from compressor.graph.tensors import TensorSpec
from compressor.recipe.keeping import cache_of
from compressor.recipe.notation import parse_input
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.metrics import require_labels
from compressor.results.measurements import Timing
from compressor.results.records import StageRecord
from compressor.system.progress import SILENT, Progress
from exporters.base import Target

DRAWN = 256
"""Samples for a model that takes nothing but what it draws, unless told otherwise."""

EXAMPLES = 8
"""Real samples used to trace and to check parity."""

Require = Callable[[CalibrationSet | None, CalibrationSet | None], None]
"""Takes calibration and evaluation data; raises where they cannot do what is asked."""


def prepare(  # noqa: PLR0913 - a front door: all but the model is named
    model: object,
    *,
    target: Target,
    recipe: Recipe,
    calibration: object = None,
    evaluation: object = None,
    require: Require | None = None,
    time_source: bool = False,
    finished: bool = False,
    progress: Progress = SILENT,
) -> Prepared:
    """Load, open the data, capture, and bind the data to the graph.

    Args:
        model: A path or a live module.
        target: What it is captured for, by the opset that it wants; an ONNX model is raised to the
            one that it cannot do without.
        recipe: What is asked for.
        calibration: Data, or None for what the recipe names.
        evaluation: Data, or None for what the recipe names.
        require: Refuses data, once it is open, that does not do for what is asked.
        time_source: Whether it is timed what the source itself takes.
        finished: Whether a result of `--contrib` will do, whose inputs are buffers and lengths.
        progress: Where progress is shown.

    Raises:
        CheckpointError: The file cannot be loaded.
        DataError: The data is damaged or does not fit.
        CaptureError: No exporter makes an equivalent graph.
        UsageError: It is a result of `--contrib`.
    """
    model = located(model)
    encoders = encoders_of(model_folder(model), recipe.data.tokenizer)
    calib, evaluate = opened((calibration, evaluation), recipe, encoders)
    if require is not None:
        require(part_of(calib, recipe), evaluate)
    source = _source(model, recipe)
    if not finished:
        _require_own_cache(source)
    known = told_by(source, encoders)
    if known is not encoders:
        encoders = known
        calib, evaluate = opened((calibration, evaluation), recipe, encoders)
    source = _noting(source, (calib, evaluate))
    for notice in _not_finite(source):  # now, as an error may follow from it
        progress.notice(notice)
    asked = [parse_input(text) for text in recipe.model.inputs]
    signature = called_by(source, asked, calib or evaluate)
    if signature is None:
        signature = taken(source, [*asked, *own_inputs(source, asked)])
    calib, evaluate = (None if d is None else told(d, signature) for d in (calib, evaluate))
    if require is not None:
        require_labels(recipe, calib, evaluate, find_metric)
    given = [data for data in (calib, evaluate) if data is not None]
    example = _example(given[0] if given else None)
    declared = [*asked, *own_inputs(source, asked, example)]
    varied = frozenset[str]().union(*(data.varied for data in given))
    with progress.stage("capture"):
        captured = _captured(source, declared, example, varied, target, recipe)
    if captured.noises and len(captured.noises) == len(captured.inputs.specs):
        calib, evaluate = _drawn(captured, recipe), None
    else:
        calib, evaluate = (None if d is None else _bound(d, captured) for d in (calib, evaluate))
    prepared = Prepared(
        name=source.description,
        path=source.path,
        model=captured.model,
        is_onnx=source.kind == "onnx",
        parity=captured.parity,
        records=_records(captured, recipe),
        calibration=part_of(calib, recipe),
        evaluation=evaluate,
        source=source if recipe.prune.method == "taylor" else None,
        captured_at=captured.inputs,
        noises=captured.noises if recipe.model.noise == "inside" else (),
    )
    prepared = replace(prepared, phases=_phases(prepared, recipe))
    if not time_source:
        return prepared
    return replace(prepared, source_latency=_source_latency(source, prepared, recipe))


def _noting(source: ModelSource, data: Data) -> ModelSource:
    """The source, whose notices say what made its data."""
    made_by = (one.made_by for one in data if one is not None)
    said = dict.fromkeys(text for text in made_by if text is not None)
    return replace(source, notices=(*source.notices, *said))


def _source_latency(source: ModelSource, prepared: Prepared, recipe: Recipe) -> Timing | None:
    if prepared.noises:  # what it draws is an input of the graph alone
        return None
    config = prepared.deciding(recipe)
    specs, feeds = input_specs(prepared.model), prepared.timed(config, recipe.seed)
    return eager_latency(source, specs, feeds, config)


def _require_own_cache(source: ModelSource) -> None:
    """Refuse a graph that needs the lengths of texts beside its cache, which no search makes."""
    if source.model is not None and NOTE in source.model.metadata_props:
        raise UsageError(
            f"{source.description}: its cache lies in shared buffers, as --contrib makes it",
            hint="Name the model that it was made from; compressor.load and `compress profile` "
            "take this one.",
        )


def _captured(
    source: ModelSource,
    declared: Sequence[TensorSpec],
    example: Batch | None,
    varied: frozenset[str],
    target: Target,
    recipe: Recipe,
) -> Captured:
    """The graph, which an earlier run may have kept."""
    samples = None if example is None else example.inputs
    axes = None if example is None else example.sample_axes
    traced = {
        "inputs": [str(spec) for spec in declared],
        "axes": None if axes is None else {name: repr(axis) for name, axis in axes.items()},
        "varied": sorted(varied),
        "opset": [target.opset, target.least_opset],
    }
    asked = Question(source, source.path, recipe.model, traced, samples)
    return captured_once(
        cache_of(recipe),
        asked,
        lambda: capture(
            source,
            inputs=declared or None,
            examples=samples,
            axes=axes,
            varied=varied,
            opset=target.opset,
            least_opset=target.least_opset,
        ),
    )


def _drawn(captured: Captured, recipe: Recipe) -> CalibrationSet:
    """Data for a model that takes nothing but what it draws: of that the distribution is known."""
    samples = recipe.data.samples or DRAWN
    specs = input_specs(captured.model)
    at = captured.inputs.of(samples).shifted(recipe.seed)
    axes = batch_axes(specs)
    arrays = {}
    for spec in at.specs:
        lies, shape = axes[spec.name], list(at.shape(spec))
        if lies is not None:
            shape[lies.axis] = samples * lies.multiple
        arrays[spec.name] = at.noise[spec.name].array(shape, spec.dtype, [recipe.seed])
    return open_dataset(arrays, role="calibration", seed=recipe.seed).bind(specs)


def _bound(data: CalibrationSet, captured: Captured) -> CalibrationSet:
    """The data under the names of the graph's inputs, with numbers for what it draws."""
    drawn = tuple(noise.spec for noise in captured.noises)
    names = {spec.name for spec in drawn}
    bound = data.bind([s for s in input_specs(captured.model) if s.name not in names])
    if not drawn:
        return bound
    fed = tuple(spec for spec in captured.inputs.specs if spec.name not in names)
    draws = {noise.spec.name: noise.draw for noise in captured.noises}
    return bound.drawing(NoiseInputs(fed, drawn, draws))


def _records(captured: Captured, recipe: Recipe) -> tuple[StageRecord, ...]:
    """The record of the capture, with what becomes of the noise."""
    noises, record = captured.noises, captured.record
    if not noises:
        return (record,)
    if recipe.model.noise == "input":
        specs = [str(spec) for spec in input_specs(captured.model)]
        kinds = {"normal": "mean 0 and variance 1", "uniform": "uniform from 0 to 1"}
        told = (f"{n.spec} for {n.words}, {kinds[n.draw.kind]}" for n in noises)
        said = f"noise is given as inputs (--noise input): {'; '.join(told)}"
        parameters = {**record.parameters, "inputs": specs}
    else:
        said = (
            f"the artifact draws its own noise ({listed([n.words for n in noises])}): quality is "
            "of the same numbers on both sides, and --noise input makes them inputs"
        )
        if any(noise.operator == "Dropout" for noise in noises):
            said += " (F.dropout drops in evaluation mode too, unless training=self.training)"
        parameters = record.parameters
    return (
        record.model_copy(update={"parameters": parameters, "notices": (*record.notices, said)}),
    )


def _phases(prepared: Prepared, recipe: Recipe) -> Phases:
    """What is timed of a decoder: with the sizes of the data, where there is any."""
    at, options = prepared.sizes, recipe.measure
    if prepared.feeds_are_real:
        samples = prepared.feeds(at.batch, recipe.seed)
        at = replace(at, samples=samples, offset=0).resized(open_sizes(at, samples))
    told = options.usage.context if options.tokens is not None else None
    return phases_of(prepared.model, at, first=options.phase, context=options.context or told)


def _source(model: object, recipe: Recipe) -> ModelSource:
    if isinstance(model, str | os.PathLike):
        return load_checkpoint(Path(model), recipe.model)
    entry = entry_name(model)
    return source_of(model) if entry is None else load_checkpoint(Path(entry), recipe.model)


def _not_finite(source: ModelSource) -> Iterator[str]:
    if source.model is not None:
        yield from graph_not_finite(source.model)
    elif source.module is not None:
        yield from module_not_finite(source.module)


def _example(data: CalibrationSet | None) -> Batch | None:
    return None if data is None else data.sample(EXAMPLES)
