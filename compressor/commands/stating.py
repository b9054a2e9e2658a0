"""What an artifact says of itself, so that whoever gets the file alone knows what it is.

    task, names, imgsz, channels, preprocess   how it is fed and read, in the words of Ultralytics
    producer, version, source, source_sha256   what made it, of what
    precision, budget, verdict                 what it is, and whether it kept its budget

Nothing that differs from run to run: the same model and plan give the same bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import file_digest, sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from calibration.encoders.finding import picture_fields
from calibration.encoders.model_folder import ModelFolder, task_by_name
from compressor.checkpoint.hub import find_weights
from compressor.errors import CompressorError
from compressor.graph.stated import state
from compressor.recipe.recipe import Recipe
from compressor.results.graph_report import BudgetResult
from compressor.search.candidate import Outcome
from compressor.search.measure import Pair
from exporters.base import Artifact

PRODUCER = "compressor"


def metadata_of(
    outcome: Outcome,
    pair: Pair,
    budget: BudgetResult | None,
    folder: ModelFolder | None,
    source: object,
) -> dict[str, str]:
    """What the artifact of one graph says of itself.

    Args:
        outcome: What ships.
        pair: The graph before and after.
        budget: What became of the budget; None without one.
        folder: The model's folder; None where it came from none.
        source: The checkpoint, for its hash; anything but a path has none.
    """
    found = {"producer": f"{PRODUCER} {tool_version()}", "version": tool_version()}
    path = source if isinstance(source, str | Path) else pair.prepared.path
    if path is not None and (digest := source_digest(Path(path))) is not None:
        found |= {"source": Path(path).name, "source_sha256": digest}
    found |= _of_folder(folder)
    found |= _of_pictures(pair, pair.recipe, folder)
    precision = outcome.plan.ship
    found["precision"] = precision
    if budget is not None:
        found["budget"] = f"{budget.asked} of {budget.metric}"
        found["verdict"] = "the budget was kept" if budget.met else "the budget was not kept"
    else:
        found["verdict"] = f"ships as {precision}"
    return {key: text for key, text in found.items() if key not in outcome.shipped.metadata_props}


def stated(artifact: Artifact, metadata: Mapping[str, str]) -> Artifact:
    """The artifact with its metadata in the file; not where an engine was built from the file."""
    if artifact.model.suffix != ".onnx" and metadata and "onnx" in artifact.roles:
        state(artifact.roles["onnx"], metadata)
    if artifact.engine is not None or artifact.model.suffix != ".onnx" or not metadata:
        return artifact
    before = artifact.model.stat().st_size
    state(artifact.model, metadata)
    if artifact.own_bytes is None:
        return artifact
    more = artifact.model.stat().st_size - before
    return replace(artifact, own_bytes=artifact.own_bytes + more)


def tool_version() -> str:
    """The version of this tool."""
    try:
        return version("compressor")
    except PackageNotFoundError:
        return "0"


def source_digest(path: Path) -> str | None:
    """SHA-256 of the weights that a path means: of one file its own, of several that of theirs."""
    try:
        weights = find_weights(path)
        files = (path,) if weights is None else weights.files
        digests = [_digest(file) for file in files]
    except (OSError, CompressorError):
        return None
    return digests[0] if len(digests) == 1 else sha256("\n".join(digests).encode()).hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def _of_folder(folder: ModelFolder | None) -> dict[str, str]:
    if folder is None:
        return {}
    found = {}
    if folder.architecture is not None:
        found["architecture"] = folder.architecture
    task = task_by_name(folder)
    if task is not None:
        found["task"] = task
    if folder.labels:
        found["names"] = str(dict(enumerate(folder.labels)))
    return found


def _of_pictures(pair: Pair, recipe: Recipe, folder: ModelFolder | None) -> dict[str, str]:
    """Size, channels and preprocessing of pictures, where the graph takes any."""
    specs = [spec for spec in pair.prepared.sizes.specs if len(spec.shape) == 4]
    found: dict[str, str] = {}
    if len(specs) == 1 and len(pair.prepared.sizes.specs) == 1:
        _, channels, *sides = specs[0].shape
        if all(isinstance(side, int) for side in (channels, *sides)):
            found = {"imgsz": str(list(sides)), "channels": str(channels)}
    known: dict[str, Any] = {}
    if folder is not None and found:
        known = picture_fields(folder.preprocessor) or {}
    own = recipe.data.preprocess
    known |= {name: getattr(own, name) for name in sorted(own.model_fields_set)}
    if known:
        found["preprocess"] = json.dumps(known, sort_keys=True)
    return found
