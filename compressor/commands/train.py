"""`compress train`: a graph learns to answer as its original does, and nothing else is done."""

import os
from pathlib import Path

import onnx_ir as ir

from calibration.dataset import CalibrationSet
from compressor.checkpoint import require_model
from compressor.checkpoint.prepare import prepare
from compressor.checkpoint.prepared import Prepared
from compressor.errors import OutputError, UsageError
from compressor.graph.files import save_model
from compressor.graph.writing import with_weights
from compressor.recipe.held_out import held_out_of
from compressor.recipe.recipe import Recipe
from compressor.recipe.requirements.training import require_same_form
from compressor.recipe.targets import available_target
from compressor.recipe.training import Length, TrainOptions, parse_length
from compressor.results.training import TrainingReport, TrainingResult
from compressor.system.extras import require_extra
from compressor.system.progress import SILENT, Progress
from compressor.system.writable import why_not_writable
from compressor.training.task import MEMORY, Task

DEFAULT_LENGTH = "5m"


def train(
    model: object,
    teacher: object = None,
    data: object = None,
    *,
    length: str | None = None,
    loss: str | None = None,
    output: str | Path | None = None,
    recipe: Recipe | None = None,
    progress: Progress = SILENT,
) -> TrainingReport:
    """Train a graph, float or with Q/DQ, to answer as another does; source code is not needed.

    Args:
        model: What is trained: an ONNX file, an `onnx_ir.Model`, or whatever `compress` takes.
        teacher: The original, likewise; it answers in ONNX Runtime.
        data: Samples, with or without labels, in the forms of calibration data; by default what
            the recipe's [train] data or [data] calib names.
        length: "5m", "2000steps" or "10epochs"; the recipe's, else five minutes.
        loss: A loss in place of the teacher: `file.py:function` of (outputs, batch).
        output: The ONNX file to write; default: the model's name with "-trained".
        recipe: [train] holds optimizer, schedule and the like; `compress recipe` documents it.
        progress: Where loss, held-out loss, rate and time left are shown.

    Returns:
        How it went. `training.kept` says whether the weights changed: where no moment was better
        on the held-out samples they are as before.

    Raises:
        UsageError: Nothing could be trained; no file is written.
        CompressorError: Its other subclasses tell what was wrong.
        KeyboardInterrupt: During the steps; the best moment so far was written.
    """
    require_extra("torch", "torch", "training")
    recipe = recipe or Recipe()
    require_same_form(recipe, "compress train")
    options, asked = _options(recipe, length, loss)
    if teacher is None and options.loss is None:
        raise UsageError(
            "there is nothing to learn from: no teacher, and no loss",
            hint="Name the original by --teacher MODEL, or a loss by --loss file.py:function.",
        )
    path = _output(model, output)
    prepared = _prepared(model, data, recipe, progress)
    original = None if teacher is None else _prepared(teacher, data, recipe, progress)
    samples = prepared.calibration
    if samples is None:
        raise UsageError("there is no data to train on", hint="Pass --calib DATA.")
    _require_alike(prepared.model, None if original is None else original.model)
    result, made = _trained(
        prepared, None if original is None else original.model, samples, options, asked,
        recipe=recipe, progress=progress,
    )  # fmt: skip
    if not result.done and not result.interrupted:
        raise UsageError(
            f"nothing was trained, and {path} is not written: {result.reason}",
            hint="docs/training.md says what a training needs.",
        )
    if int(os.environ.get("RANK", "0")) == 0:  # of those that torchrun starts, one writes
        save_model(made, path)
    if result.interrupted:
        raise KeyboardInterrupt(f"interrupted: the best so far was written to {path}")
    return TrainingReport(
        model=prepared.name,
        teacher=None if original is None else original.name,
        file=str(path),
        training=result,
    )


def _trained(
    prepared: Prepared,
    teacher: ir.Model | None,
    samples: CalibrationSet,
    options: TrainOptions,
    length: Length,
    *,
    recipe: Recipe,
    progress: Progress,
) -> tuple[TrainingResult, ir.Model]:
    from compressor.training.train import train_graph  # noqa: PLC0415 - torch

    if len(samples) < 2:
        raise UsageError(
            "one sample cannot both be trained on and choose the best moment",
            hint="Pass more samples by --calib.",
        )
    used, held = held_out_of(samples, options, recipe.seed)
    memory = recipe.quantize.memory or MEMORY
    task = Task(
        prepared.model,
        teacher,
        used,
        held,
        options,
        length,
        seed=recipe.seed,
        memory=int(memory),
        stops=True,
    )
    found = train_graph(task, progress)
    for notice in found.result.notices:
        progress.notice(notice)
    made = with_weights(prepared.model, found.weights) if found.weights else prepared.model
    return found.result, made


def _options(recipe: Recipe, length: str | None, loss: str | None) -> tuple[TrainOptions, Length]:
    asked = parse_length(length or recipe.train.length or DEFAULT_LENGTH)
    changed = {} if loss is None else {"loss": loss}
    return recipe.train.model_copy(update=changed), asked


def _prepared(model: object, data: object, recipe: Recipe, progress: Progress) -> Prepared:
    require_model(model, recipe)
    given = recipe.train.data if data is None else data
    return prepare(
        model,
        target=available_target(recipe),
        recipe=recipe,
        calibration=given,
        progress=progress,
    )


def _require_alike(student: ir.Model, teacher: ir.Model | None) -> None:
    """Refuse a teacher that answers something else.

    Raises:
        UsageError: It has other inputs or lacks an output.
    """
    if teacher is None:
        return
    for what, own, others in (
        ("input", teacher.graph.inputs, student.graph.inputs),
        ("output", student.graph.outputs, teacher.graph.outputs),
    ):
        known = [value.name or "" for value in others]
        lacking = [value.name or "" for value in own if value.name not in known]
        if lacking:
            raise UsageError(
                f"teacher and model do not fit: the {what} {lacking[0]!r} is in one alone; the "
                f"other has {', '.join(known)}",
                hint="Name inputs and outputs of both alike.",
            )


def _output(model: object, given: str | Path | None) -> Path:
    """Where the trained model goes.

    Raises:
        OutputError: That is the model itself, or its folder cannot be written.
    """
    if given is None:
        named = Path(model) if isinstance(model, str | Path) else Path("model.onnx")
        path = named.with_name(f"{named.stem}-trained.onnx")
    else:
        path = Path(given)
    if isinstance(model, str | Path) and path.resolve() == Path(model).resolve():
        raise OutputError(
            f"{path} is the model that is trained", hint="Name another file with -o FILE."
        )
    reason = why_not_writable(path.parent)
    if reason is not None:
        raise OutputError(
            f"{path} cannot be written: {reason}", hint="Name another file with -o FILE."
        )
    return path
