"""`compress FOLDER` of a model that writes text: its decoder keeps a cache, and its loop judges.

A decoder by itself says little: what counts is what it writes, token after token behind its own
cache. So the folder becomes the graphs of a built-in loop, `text-generation` or `encoder-decoder`,
whose options follow from the folder: its tokenizer, the token that ends a text, how much it holds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from calibration.encoders.base import Encoders
from calibration.encoders.finding import encoders_of
from calibration.encoders.model_folder import ModelFolder, model_folder
from calibration.sources.records import texts_of
from calibration.sources.tables import parted, read_table
from compressor.capture import capture
from compressor.capture.source import ModelSource
from compressor.checkpoint.architectures import load_pretrained, task_of_folder
from compressor.checkpoint.hub import find_weights
from compressor.checkpoint.kept_capture import Question, captured_once
from compressor.checkpoint.torch_files import require
from compressor.commands.account import GRAPH
from compressor.errors import UsageError
from compressor.graph.tensors import TensorSpec
from compressor.recipe.keeping import cache_of
from compressor.recipe.recipe import Recipe
from compressor.system.progress import Progress
from exporters.base import Target

TOKENS = 64
"""Tokens that a unit has, unless the model holds fewer."""


@dataclass(frozen=True)
class Written:
    """A folder as the graphs of a loop.

    Attributes:
        graphs: Name → graph, with its cache as inputs and outputs.
        loop: The built-in loop.
        recipe: With the options of that loop.
        data: What it reads to calibrate and to judge.
    """

    graphs: dict[str, ModelSource]
    loop: str
    recipe: Recipe
    data: tuple[object, object]


def writes(model: object, recipe: Recipe) -> ModelFolder | None:
    """The folder of a model that writes text, by its task; None for any other model."""
    if recipe.model.factory is not None or not isinstance(model, str | Path):
        return None
    folder = model_folder(model)
    weights = None if folder is None else find_weights(Path(model))
    if folder is None or weights is None or weights.folder is None:
        return None
    task = task_of_folder(folder.path, recipe.model.task)
    return folder if task is not None and task.writes else None


def written_by(
    folder: ModelFolder,
    recipe: Recipe,
    target: Target,
    data: tuple[object, object],
    progress: Progress,
) -> Written:
    """Capture the graphs of a folder, and choose their loop and its options.

    Args:
        folder: Of a model that writes.
        recipe: What is asked for.
        target: By the opset that it wants.
        data: What the user gave to calibrate and to judge, before the recipe's.
        progress: Where progress is shown.

    Raises:
        CheckpointError: The folder cannot be loaded.
        CaptureError: A graph does not agree with its module.
        DataError: Texts are given that cannot be read.
    """
    # Only here, so that nothing else imports torch.
    from compressor.checkpoint.decoder_graphs import (  # noqa: PLC0415
        decoder_graph,
        encoder_decoder_graphs,
    )

    encoders = encoders_of(folder, recipe.data.tokenizer)
    calib, evaluate = data
    calib = _texts(recipe.data.calib if calib is None else calib, "calibration", encoders)
    evaluate = _texts(recipe.data.eval if evaluate is None else evaluate, "evaluation", encoders)
    with progress.stage("load the model"):
        found = load_pretrained(folder.path, require("torch", folder.path), recipe.model.task)
    crosses = bool(getattr(found.module.config, "is_encoder_decoder", False))
    modules = (
        encoder_decoder_graphs(found.module) if crosses else {GRAPH: decoder_graph(found.module)}
    )
    graphs = {}
    for name, (module, inputs) in modules.items():
        called = str(folder.path) if name == GRAPH else f"{folder.path} ({name})"
        source = ModelSource("module", called, module=module.eval())
        with progress.stage(f"capture {name}"):
            asked = Question(source, folder.path, recipe.model, _traced(inputs, target.opset))
            captured = captured_once(
                cache_of(recipe),
                asked,
                partial(capture, source, inputs=inputs, examples=None, opset=target.opset),
            )
        worst = max((one.max_absolute for one in captured.parity), default=0.0)
        told = f"captured with its cache; it agrees with {found.architecture} within {worst:.1g}"
        graphs[name] = ModelSource(
            "onnx",
            called,
            folder.path,
            model=captured.model,
            notices=(*found.notices, *_told(captured.record.notices), told),
        )
    loop = "encoder-decoder" if crosses else "text-generation"
    options = {**_options(folder, encoders, crosses=crosses), **recipe.pipeline.options}
    pipeline = recipe.pipeline.model_copy(update={"options": options})
    kept = recipe.data.model_copy(update={"calib": None, "eval": None, "tokenizer": None})
    recipe = recipe.model_copy(update={"pipeline": pipeline, "data": kept})
    return Written(graphs, loop, recipe, (calib, evaluate))


def _traced(inputs: Sequence[TensorSpec], opset: int) -> dict[str, Any]:
    """What a module is traced with."""
    return {"inputs": [str(spec) for spec in inputs], "opset": opset}


def _told(notices: tuple[str, ...]) -> tuple[str, ...]:
    """What is to be known of a capture; that there is no data yet is not."""
    return tuple(one for one in notices if not one.startswith("no calibration data"))


def _options(folder: ModelFolder, encoders: Encoders, *, crosses: bool) -> dict[str, Any]:
    """Options of the loop, as the folder tells them."""
    told, longest = folder.generation, folder.max_length
    options: dict[str, Any] = {"tokens": TOKENS}
    if longest is not None:
        options["tokens"] = min(TOKENS, max(1, longest // 2))
        options["prompt"] = longest if crosses else longest - options["tokens"]
    end = told.get("eos_token_id")
    end = end[0] if isinstance(end, list) and end else end
    if isinstance(end, int):
        options["end"] = end
    start = told.get("decoder_start_token_id", told.get("pad_token_id"))
    if crosses and isinstance(start, int):
        options["start"] = (start,)
    if isinstance(folder.config.get("vocab_size"), int):
        options["vocabulary"] = folder.config["vocab_size"]
    if encoders.text is not None:
        options["tokenizer"] = getattr(encoders.text, "path", folder.tokenizer)
    return options


def _texts(source: object, role: str, encoders: Encoders) -> object:
    """The texts of a table; any other data as it is."""
    found = parted(source) if isinstance(source, str | Path) else None
    if found is None:
        return source
    if encoders.text is None:
        raise UsageError(
            f"{role} data {source} is text, and nothing says how it becomes tokens: "
            f"{encoders.why_no_text}",
            hint="Pass --tokenizer tokenizer.json, or give arrays of tokens.",
        )
    texts = texts_of(read_table(*found, role), encoders)
    encoders.text.encode(texts, None, f"{role} data {source}")  # refuses another vocabulary
    return texts
