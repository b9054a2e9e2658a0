"""From what the user names to a captured graph with data bound to its inputs."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import onnx_ir as ir

from calibration.batch import Batch
from calibration.dataset import CalibrationSet, open_dataset
from calibration.encoders.base import Encoders
from calibration.encoders.finding import encoders_of, picture_fields
from calibration.encoders.model_folder import ModelFolder, model_folder
from calibration.fields import Signature
from calibration.noise import NoiseInputs
from compressor.capture import Captured, capture
from compressor.capture.inputs import Inputs, named, sized
from compressor.capture.noise_inputs import listed
from compressor.capture.peculiar import graph_not_finite, module_not_finite
from compressor.capture.signature import taken, told
from compressor.capture.source import ModelSource
from compressor.checkpoint import load_checkpoint, source_of
from compressor.checkpoint.eager_latency import eager_latency
from compressor.checkpoint.hub_cache import located
from compressor.checkpoint.kept_capture import Question, captured_once
from compressor.checkpoint.phases import Phases, phases_of
from compressor.errors import DataError, UsageError
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.yardstick import Yardstick
from compressor.graph.batch import batch_axes, fixed_batch
from compressor.graph.lifting import DrawnInput, put_back
from compressor.graph.shapes import input_specs
from compressor.graph.shared_cache import NOTE
from compressor.graph.sizes import solve
from compressor.graph.tensors import Array, Arrays, Dimension, TensorSpec
from compressor.recipe.keeping import cache_of
from compressor.recipe.notation import parse_input
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.metrics import require_labels
from compressor.results.measurements import LatencyConfig, Parity, Phase, Timing
from compressor.results.records import StageRecord
from compressor.system.processors import available_processors
from compressor.system.progress import SILENT, Progress
from exporters.base import CallShapes, Target

DRAWN = 256
"""Samples for a model that takes nothing but what it draws, unless told otherwise."""
EXAMPLES = 8
"""Real samples used to trace and to check parity."""


Data = tuple[CalibrationSet | None, CalibrationSet | None]
"""Calibration and evaluation data."""
Require = Callable[[CalibrationSet | None, CalibrationSet | None], None]
"""Takes calibration and evaluation data; raises where they cannot do what is asked."""


@dataclass(frozen=True)
class Prepared:
    """A captured graph and its data.

    Attributes:
        name: What the source is called in messages and in the report.
        path: The checkpoint's path; None for a live module.
        model: The captured graph, unfolded.
        is_onnx: Whether it came as ONNX, so that it is a user's own graph and not an exporter's.
        parity: The graph's agreement with the source.
        records: The stages so far.
        calibration: Calibration data, bound to the graph's inputs; None without.
        evaluation: Evaluation data, bound to the graph's inputs; None without.
        source: The torch module where gradients of it are asked for; otherwise it may go.
        yardstick: What quality is measured in; None before that is known, or without data.
        captured_at: What the graph's inputs look like, and sizes that it runs at.
        phases: What is timed of a decoder.
        calls: Shapes of the inputs of a call → how many calls of a loop had them; empty where there
            is no loop.
        noises: Inputs of the graph that stand for what the source draws. The artifact draws it.
        source_latency: What the source itself takes where speed decides, if it was timed.
    """

    name: str
    path: Path | None
    model: ir.Model
    is_onnx: bool
    parity: tuple[Parity, ...]
    records: tuple[StageRecord, ...]
    calibration: CalibrationSet | None
    evaluation: CalibrationSet | None
    source: ModelSource | None = None
    yardstick: Yardstick | None = None
    captured_at: Inputs | None = None
    phases: Phases = field(default_factory=Phases)
    calls: Mapping[CallShapes, int] = field(default_factory=dict)
    noises: tuple[DrawnInput, ...] = ()
    source_latency: Timing | None = None

    def as_shipped(self, model: ir.Model) -> ir.Model:
        """A graph of these inputs as it is written and timed: it draws its own noise."""
        return put_back(model, self.noises)

    @property
    def sizes(self) -> Inputs:
        """The inputs at sizes that the graph runs at."""
        return self.captured_at or sized(tuple(map(named, input_specs(self.model))), {})

    def feeds(self, batch: int, seed: int) -> dict[str, Array]:
        """Inputs for one inference of `batch` samples: real ones where there are any.

        Timing does not need meaning, so without data seeded numbers serve, of the sizes that the
        model was captured at; `feeds_are_real` tells which.
        """
        data = self.evaluation if self.calibration is None else self.calibration
        if data is None:
            return self.sizes.of(batch).shifted(seed).arrays()
        return data.sample(batch).filled(batch)

    def timed(self, config: LatencyConfig, seed: int) -> dict[str, Array]:
        """Inputs for one inference of a configuration: of its phase, where it has one."""
        feeds = self.feeds(config.batch, seed)
        if config.phase is None:
            return feeds
        samples = feeds if self.feeds_are_real else {}
        at = replace(self.sizes, samples=samples).of(config.batch).shifted(0 if samples else seed)
        return self.phases.calls[config.phase].arrays(at)

    def deciding(self, recipe: Recipe) -> LatencyConfig:
        """Where speed decides. 0 threads are counted out: those of the processors there are."""
        cores, phase = available_processors(), self.phases.names[0]
        return LatencyConfig(
            batch=self.fixed_batch or recipe.measure.batch,
            threads=min(recipe.measure.threads or cores, cores),
            phase=phase,
            sizes=self.timed_sizes[phase],
        )

    @cached_property
    def timed_sizes(self) -> dict[Phase | None, str]:
        """Open sizes but for the batch, as each phase is timed at: `sequence 64, past 0`."""
        batch = self.fixed_batch or 1
        configs = [LatencyConfig(batch=batch, threads=1, phase=p) for p in self.phases.names]
        return {one.phase: size_names(self.sizes, self.timed(one, 0)) for one in configs}

    @property
    def feeds_are_real(self) -> bool:
        """Whether `feeds` come from data."""
        return self.calibration is not None or self.evaluation is not None

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that is baked into the graph, if one is."""
        return fixed_batch(self.sizes.specs)


def size_names(inputs: Inputs, feeds: Arrays) -> str:
    """Open sizes but for the batch as they are in some feeds: `sequence 64, past 0`."""
    try:
        sizes = solve(inputs.specs, feeds, "what is timed")
    except DataError:  # a scalar that is one for all calls, where the relation says the batch
        return ""
    return ", ".join(f"{name} {sizes[name]}" for name in inputs.others if name in sizes)


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
    calib, evaluate = _opened((calibration, evaluation), recipe, encoders)
    if require is not None:
        require(_part(calib, recipe), evaluate)
    source = _source(model, recipe)
    if not finished:
        _require_own_cache(source)
    known = _told_by(source, encoders)
    if known is not encoders:
        encoders = known
        calib, evaluate = _opened((calibration, evaluation), recipe, encoders)
    made_by = (data.made_by for data in (calib, evaluate) if data is not None)
    said = dict.fromkeys(text for text in made_by if text is not None)
    source = replace(source, notices=(*source.notices, *said))
    for notice in _not_finite(source):  # now, as an error may follow from it
        progress.notice(notice)
    asked = [parse_input(text) for text in recipe.model.inputs]
    signature = _called_by(source, asked, calib or evaluate)
    if signature is None:
        signature = taken(source, [*asked, *_own(source, asked)])
    calib, evaluate = (None if d is None else told(d, signature) for d in (calib, evaluate))
    if require is not None:
        require_labels(recipe, calib, evaluate, find_metric)
    given = [data for data in (calib, evaluate) if data is not None]
    example = _example(given[0] if given else None)
    declared = [*asked, *_own(source, asked, example)]
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
        calibration=_part(calib, recipe),
        evaluation=evaluate,
        source=source if recipe.prune.method == "taylor" else None,
        captured_at=captured.inputs,
        noises=captured.noises if recipe.model.noise == "inside" else (),
    )
    prepared = replace(prepared, phases=_phases(prepared, recipe))
    if not time_source:
        return prepared
    return replace(prepared, source_latency=_source_latency(source, prepared, recipe))


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
        try:
            sizes = solve(at.specs, samples, "what is timed")
        except DataError:  # a scalar that is one for all calls, where the relation says the batch
            sizes = {}
        at = replace(at, samples=samples, offset=0).resized(sizes)
    told = options.usage.context if options.tokens is not None else None
    return phases_of(prepared.model, at, first=options.phase, context=options.context or told)


def _source(model: object, recipe: Recipe) -> ModelSource:
    if isinstance(model, str | os.PathLike):
        return load_checkpoint(Path(model), recipe.model)
    return source_of(model)


def _told_by(source: ModelSource, encoders: Encoders) -> Encoders:
    """The encoders, with what only the model itself tells: the same where it tells nothing.

    A graph may have the number of tokens baked in; a module of timm says by its `pretrained_cfg`
    how pictures are made.
    """
    length = _text_length(source)
    if length is not None and encoders.text is not None:
        return replace(encoders, text=encoders.text.of_length(length))
    own = getattr(source.module, "pretrained_cfg", None)
    if encoders.images is None and isinstance(own, Mapping):
        return replace(encoders, images=picture_fields({"pretrained_cfg": own}))
    return encoders


def _text_length(source: ModelSource) -> int | None:
    """The number of tokens that a graph has baked in; None where it takes any, or no tokens."""
    if source.model is None:
        return None
    for value in source.model.graph.inputs:
        if value.name == "input_ids" and value.shape is not None and len(value.shape) == 2:
            size = value.shape[1]
            return size if isinstance(size, int) and size > 0 else None
    return None


def _called_by(
    source: ModelSource, asked: Sequence[TensorSpec], data: CalibrationSet | None
) -> Signature | None:
    """The inputs under the names that a source has for them, as far as the data has them.

    A single array is the first input, whatever its name: a folder of pictures has `image`, and the
    model `pixel_values`. None where the source does not tell, or `--input` does.
    """
    if data is None or asked or not source.inputs:
        return None
    fed = {spec.name for spec in data.fields}
    own = [spec for spec in source.inputs if spec.name in fed]
    if not own and len(fed) == 1:
        own = list(source.inputs[:1])
    if not own:
        return None
    specs = tuple(named(replace(spec, shape=_lengths(spec))) for spec in own)
    names = tuple(spec.name for spec in specs)
    return Signature(names, len(names), specs=specs, complete=True)


def _own(
    source: ModelSource, asked: Sequence[TensorSpec], example: Batch | None = None
) -> Iterator[TensorSpec]:
    """What a source says of its inputs, where `--input` does not, and as far as data has them."""
    given = {spec.name for spec in asked}
    fed = {} if example is None else {name: a.shape for name, a in example.inputs.items()}
    for spec in source.inputs:
        shape = fed.get(spec.name, ())
        if spec.name in given or (fed and len(shape) != len(spec.shape)):
            continue
        if not fed:
            yield spec
            continue
        sizes = zip(spec.shape, shape, strict=True)
        yield replace(spec, shape=tuple(own if isinstance(own, str) else n for own, n in sizes))


def _lengths(spec: TensorSpec) -> tuple[Dimension, ...]:
    """The shape with what is open alone: sizes that the data has are the data's."""
    return tuple(size if isinstance(size, str) else None for size in spec.shape)


def _not_finite(source: ModelSource) -> Iterator[str]:
    if source.model is not None:
        yield from graph_not_finite(source.model)
    elif source.module is not None:
        yield from module_not_finite(source.module)


def _given(data: object, named: str | None) -> object:
    """Data passed as an argument goes before what the recipe names; arrays have no truth value."""
    return named if data is None else data


def data_of(
    model: ir.Model, given: tuple[object, object], recipe: Recipe, folder: ModelFolder | None
) -> Data:
    """Calibration and evaluation data of a graph that is taken as it is, bound to its inputs.

    Args:
        model: The graph.
        given: What was passed, or None for what the recipe names.
        recipe: How it is read, and how many calibration samples.
        folder: The model's folder.

    Raises:
        DataError: It is damaged or does not fit.
    """
    specs = input_specs(model)
    calib, evaluate = _opened(given, recipe, encoders_of(folder, recipe.data.tokenizer))
    require_labels(recipe, calib, evaluate, find_metric)
    bound = (None if data is None else data.bind(specs) for data in (calib, evaluate))
    calib, evaluate = bound
    return _part(calib, recipe), evaluate


def _opened(given: tuple[object, object], recipe: Recipe, encoders: Encoders) -> Data:
    calibration, evaluation = given
    return (
        _open(_given(calibration, recipe.data.calib), recipe, "calibration", encoders),
        _open(_given(evaluation, recipe.data.eval), recipe, "evaluation", encoders),
    )


def _open(data: object, recipe: Recipe, role: str, encoders: Encoders) -> CalibrationSet | None:
    if data is None:
        return None
    return open_dataset(
        data,
        preprocess=recipe.data.preprocess,
        role=role,
        seed=recipe.seed,
        encoders=encoders,
    )


def _part(data: CalibrationSet | None, recipe: Recipe) -> CalibrationSet | None:
    """The calibration samples, as many as are asked for."""
    wanted = recipe.data.samples
    return data if data is None or wanted is None else data.take(wanted)


def _example(data: CalibrationSet | None) -> Batch | None:
    return None if data is None else data.sample(EXAMPLES)
