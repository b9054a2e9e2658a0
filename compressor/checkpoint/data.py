"""Calibration and evaluation data of a job, opened and bound."""

import onnx_ir as ir

from calibration.dataset import CalibrationSet, open_dataset
from calibration.encoders.base import Encoders
from calibration.encoders.finding import encoders_of
from calibration.encoders.model_folder import ModelFolder
from compressor.evaluation.metrics import find_metric
from compressor.graph.shapes import input_specs
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.metrics import require_labels

Data = tuple[CalibrationSet | None, CalibrationSet | None]
"""Calibration and evaluation data."""


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
    calib, evaluate = opened(given, recipe, encoders_of(folder, recipe.data.tokenizer))
    require_labels(recipe, calib, evaluate, find_metric)
    calib, evaluate = (None if d is None else d.bind(specs) for d in (calib, evaluate))
    return part_of(calib, recipe), evaluate


def opened(given: tuple[object, object], recipe: Recipe, encoders: Encoders) -> Data:
    """Data as it was given, or as the recipe names it; bound to no inputs yet.

    Raises:
        DataError: It is damaged.
    """
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


def _given(data: object, named: str | None) -> object:
    """Data passed as an argument goes before what the recipe names; arrays have no truth value."""
    return named if data is None else data


def part_of(data: CalibrationSet | None, recipe: Recipe) -> CalibrationSet | None:
    """The calibration samples, as many as are asked for."""
    wanted = recipe.data.samples
    return data if data is None or wanted is None else data.take(wanted)
