"""The feature space of `--features`: an ONNX file, a checkpoint, or a function of the user's."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressor.capture.source import ModelSource
from compressor.checkpoint import load_checkpoint, source_of
from compressor.errors import CompressorError, UsageError
from compressor.evaluation.distributions import FeatureMetric
from compressor.evaluation.features import FeatureSpace, Run
from compressor.evaluation.feeding import predict
from compressor.evaluation.metrics import find_metric
from compressor.evaluation.metrics.base import Metric
from compressor.evaluation.outputs import is_floating
from compressor.graph.tensors import Array
from compressor.recipe.loading import ModelOptions
from compressor.recipe.paths import with_factory
from compressor.recipe.recipe import Recipe
from compressor.system.userfile import is_object_spec, load_object, user_errors
from exporters import DEFAULT_TARGET
from exporters.base import find_target


def asked_metric(recipe: Recipe) -> Metric | None:
    """The metric of a recipe, in its feature space where it is taken in one; None without one.

    Raises:
        UsageError: There is no such metric, or features that it needs cannot be loaded.
        CheckpointError: The feature model's file cannot be loaded.
    """
    options = recipe.measure
    if options.metric is None:
        return None
    metric = find_metric(options.metric)
    if isinstance(metric, FeatureMetric) and options.features is not None:
        return metric.within(feature_space(options.features, recipe.model))
    return metric


def feature_space(given: object, options: ModelOptions) -> FeatureSpace:
    """A feature space of what the user gives.

    Args:
        given: A path, `path@factory`, `file.py:function`, a module, a model, or a function of
            (samples, ...) that returns (samples, d), or named arrays.
        options: Whether pickles are trusted.

    Raises:
        UsageError: It is none of these, or cannot be imported.
        CheckpointError: The file cannot be loaded.
    """
    name = given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)
    path, factory = with_factory(str(given)) if isinstance(given, str | Path) else ("", None)
    if path and not is_object_spec(path):
        own = ModelOptions(factory=factory, trust_pickle=options.trust_pickle)
        return FeatureSpace(_of_source(load_checkpoint(Path(path), own), str(given)), str(given))
    found = load_object(path, "features") if path else given
    if isinstance(found, type) and hasattr(found, "forward"):
        with user_errors(f"features {name}"):
            found = found()
    try:
        source = source_of(found)
    except UsageError as error:
        if callable(found):
            return FeatureSpace(_called(found, name), name)
        raise UsageError(
            f"features {name}: {error.message}",
            hint="Give an ONNX file, a checkpoint, or a function that returns an array of "
            "(samples, features).",
        ) from error
    return FeatureSpace(_of_source(source, name), name)


def _of_source(source: ModelSource, name: str) -> Run:
    """A model, run as it is: a graph by ONNX Runtime, the rest by torch."""
    if source.model is None:
        module = source.module
        if source.program is not None:
            module = source.program.module()
        else:
            module.eval()
        return _torch(module, name)
    runner = find_target(DEFAULT_TARGET).open(source.model, threads=0, timed=False)
    inputs = runner.inputs
    if len(inputs) != 1:
        raise UsageError(
            f"features {name}: expected a model of one input, found {', '.join(map(str, inputs))}",
            hint="Export the part that takes the output that is judged.",
        )

    def run(array: Array) -> Mapping[str, Array]:
        try:
            return predict(runner, {inputs[0].name: array.astype(inputs[0].dtype)}, len(array))
        except CompressorError as error:
            raise UsageError(
                f"features {name} take {inputs[0]}, and what is judged is {array.dtype}"
                f"{list(array.shape)}: {error.message}",
                hint="Resize and normalize inside the feature model, or in file.py:function.",
            ) from error

    return run


def _torch(module: Any, name: str) -> Run:
    import torch  # noqa: PLC0415 - a job from ONNX never imports it

    def run(array: Array) -> Mapping[str, Array]:
        own = array.astype(np.float32) if is_floating(array.dtype) else array
        with user_errors(f"features {name}"), torch.no_grad():
            return _named(module(torch.from_numpy(np.ascontiguousarray(own))))

    return run


def _called(function: Callable[[Array], object], name: str) -> Run:
    def run(array: Array) -> Mapping[str, Array]:
        with user_errors(f"features {name}"):
            return _named(function(array))

    return run


def _named(answer: object) -> dict[str, Array]:
    """An answer as named arrays: a mapping, one array, or several in a row."""
    if isinstance(answer, Mapping):
        return {str(key): _array(one) for key, one in answer.items()}
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return {f"output_{place}": _array(one) for place, one in enumerate(answer)}
    return {"output": _array(answer)}


def _array(value: Any) -> Array:
    if hasattr(value, "detach"):  # a torch tensor, without importing torch
        value = value.detach().cpu().numpy()
    return np.asarray(value)
