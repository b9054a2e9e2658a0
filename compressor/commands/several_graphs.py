"""`compress` of several graphs as a loop is given them: by name, in the recipe, in one folder."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from calibration.encoders.model_folder import ModelFolder
from compressor.commands.account import GRAPH
from compressor.commands.pipeline import compress_pipeline
from compressor.commands.request import Request
from compressor.commands.writing_models import written_by
from compressor.errors import UsageError
from compressor.evaluation.metrics import find_metric
from compressor.plan.plan import Plan
from compressor.recipe.paths import read_by
from compressor.recipe.pipelines import GraphOptions
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.sense import require_sense
from compressor.recipe.targets import available_target
from compressor.results.report import Report
from compressor.system.output_folder import prepare as prepare_output


def compress_writer(
    model: object,
    folder: ModelFolder,
    data: tuple[object, object],
    request: Request,
    units: int | None,
) -> Report:
    """The folder of a model that writes, by a loop that is already written.

    Args:
        model: As it was given.
        folder: The model's folder.
        data: To calibrate and to judge.
        request: What is asked for.
        units: How many generated units judge it.

    Raises:
        CompressorError: As for `compress`.
    """
    recipe, target = request.recipe, available_target(request.recipe)
    directory = request.folder(model)
    require_sense(recipe, target, find_metric)
    inputs = read_by(recipe, model, request.recipe_file)
    prepare_output(directory, force=request.force, inputs=inputs)
    made = written_by(folder, recipe, target, data, request.progress)
    request = replace(request, recipe=made.recipe, output=directory)
    return compress_graphs(made.graphs, made.loop, made.data, request, units, folder)


def compress_graphs(
    model: object,
    loop: object,
    data: tuple[object, object],
    request: Request,
    units: int | None,
    folder: ModelFolder | None = None,
) -> Report:
    """The graphs of a loop, which gives them their data.

    Args:
        model: Name → model; one alone, which the loop calls "model"; or None for the recipe's.
        loop: What calls them.
        data: To calibrate and to judge.
        request: What is asked for.
        units: How many generated units judge them.
        folder: The model's folder that all of them come from.

    Raises:
        CompressorError: As for `compress`.
    """
    recipe, plan = request.recipe, request.plan
    graphs = dict(model) if isinstance(model, Mapping) else {GRAPH: model}
    if model is None:
        graphs = {name: _spelt(name, graph) for name, graph in recipe.graphs.items()}
    own, calibration = _own_data(graphs, data[0], recipe)
    named = next(iter(graphs.values())) if len(graphs) == 1 else "pipeline"
    named = named.partition("@")[0] if isinstance(named, str) else named
    directory = request.folder(named)
    return compress_pipeline(
        graphs,
        loop,
        (calibration, data[1]),
        calibration=own,
        recipe=recipe,
        units=units,
        output=directory,
        plan=Plan.load(Path(plan)) if isinstance(plan, str | Path) else plan,
        files=(request.recipe_file, request.plan_read(directory)),
        force=request.force,
        progress=request.progress,
        command=request.command,
        folder=folder,
    )


def _own_data(
    graphs: Mapping[str, object], calibration: object, recipe: Recipe
) -> tuple[dict[str, object], object]:
    """Graph → calibration data of its own, where the loop is not to give it; and what is no such.

    Raises:
        UsageError: There is data that is of no graph.
    """
    found = {name: graph.calib for name, graph in recipe.graphs.items() if graph.calib is not None}
    own: dict[str, object] = dict(found)
    if isinstance(calibration, Mapping) and set(calibration) <= set(graphs):
        own |= {str(name): data for name, data in calibration.items()}
        calibration = None
    strange = [name for name in own if name not in graphs]
    if strange:
        raise UsageError(
            f"there is calibration data for {strange[0]!r}, and the graphs are {', '.join(graphs)}",
            hint="Name one of them: --calib NAME=DATA.",
        )
    return own, calibration


def _spelt(name: str, graph: GraphOptions) -> str:
    """A graph of the recipe as the command line has it: `unet.pt@net.py:build`.

    Raises:
        UsageError: It has no model.
    """
    if graph.model is None:
        raise UsageError(
            f"graph {name!r} has no model", hint=f"Name it: --graph {name}=MODEL, or in the recipe."
        )
    return graph.model if graph.factory is None else f"{graph.model}@{graph.factory}"
