"""The architecture that a Hugging Face folder names, from `transformers`, where it is installed.

Nothing is looked up in the network, and no code of the folder is run.
"""

import inspect
import logging
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from calibration.encoders.model_folder import CONFIG
from calibration.encoders.offline import offline
from compressor.checkpoint.hub import read_config
from compressor.checkpoint.statedict import listed
from compressor.checkpoint.tasks import Task, class_for, find_task, task_of
from compressor.errors import CheckpointError, UsageError
from compressor.system.third_party_output import relayed

logger = logging.getLogger(__name__)

FACTORY_HINT = (
    "Name what builds the module: --model package.module:factory or --model file.py:factory, its "
    "arguments by --model-args."
)


MOST_LAYERS = 10_000
"""Layers of a model: the deepest have some hundreds."""
_LAYERS = re.compile(r"(?:^|(?<!per)_)(?:layers?|depth|blocks?)$")
"""Fields that count layers, as `num_hidden_layers`; `vocab_size_per_layer_input` counts none."""


@dataclass(frozen=True)
class Pretrained:
    """A module of `transformers`, in float32, and what it is for.

    Attributes:
        module: The module, in evaluation mode.
        architecture: Its class.
        task: Its task; None where the library's tables do not tell.
        notices: What loading did that the user should know.
    """

    module: Any
    architecture: str
    task: Task | None
    notices: tuple[str, ...]


def load_pretrained(folder: Path, torch: Any, task: str | None = None) -> Pretrained:
    """The module of a folder.

    Args:
        folder: It holds `config.json` and weights.
        torch: The package.
        task: What it is to do, by its name on the hub; default: what its architecture is for.

    Raises:
        CheckpointError: The configuration names no class of `transformers`, that is not installed,
            the weights are quantized, or do not fit.
        UsageError: There is no such task, or no class for it.
    """
    config = read_config(folder)
    name = _class_name(folder, config, told=task is not None)
    _require_buildable(folder, config)
    with offline():
        transformers = _transformers(folder, name)
        auto = import_module("transformers.models.auto.modeling_auto")
        if task is not None:
            name = _class_for(auto, task, config, folder, name)
        cls = _class_of(transformers, folder, name)
        try:
            with relayed(logger):
                module, info = cls.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,  # None would ask on a terminal
                    dtype=torch.float32,
                    output_loading_info=True,
                )
        except Exception as error:  # whatever its configurations and readers raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise CheckpointError(
                f"{folder}: transformers {transformers.__version__} cannot load {name}: {lines[0]}",
                hint=FACTORY_HINT,
            ) from error
    _require_whole(folder, name, info)
    found = task_of(auto, name) if task is None else find_task(task)
    return Pretrained(module.eval(), name, found, _notices(name, config, info, found))


def _require_buildable(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a configuration of more layers than any memory holds: modules are made one by one.

    Raises:
        CheckpointError: It names the number.
    """
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for name, count in ((name, count) for part in parts for name, count in part.items()):
        if _LAYERS.search(name) and isinstance(count, int) and count > MOST_LAYERS:
            raise CheckpointError(
                f"{folder / CONFIG} says {name} {count:,}, more than the {MOST_LAYERS:,} that can "
                "be built",
                hint="Copy or download it again.",
            )


def task_of_folder(folder: Path, task: str | None = None) -> Task | None:
    """What the model of a folder is for, without its weights; None where that cannot be told."""
    if task is not None:
        return find_task(task)
    try:
        name = _class_name(folder, read_config(folder))
        with offline(), relayed(logger):
            auto = import_module("transformers.models.auto.modeling_auto")
    except (CheckpointError, ImportError):  # whoever loads it says what is wrong
        return None
    return task_of(auto, name)


def _class_for(auto: ModuleType, task: str, config: dict[str, Any], folder: Path, name: str) -> str:
    """The class for a task that the user named."""
    found, kind = find_task(task), str(config.get("model_type"))
    known = task_of(auto, name)
    if known is found and name:
        return name
    cls = class_for(auto, found, kind)
    if cls is None:
        raise UsageError(
            f"{folder}: transformers has no class for {found.name} with models of type {kind!r}",
            hint="Leave --task out"
            + (f": the architecture {name} is for {known.name}." if known else "."),
        )
    return cls


def _class_name(folder: Path, config: dict[str, Any], *, told: bool = False) -> str:
    where = folder / CONFIG
    if "quantization_config" in config:
        said = config["quantization_config"]
        method = said.get("quant_method", "unknown") if isinstance(said, dict) else said
        raise CheckpointError(
            f"{where}: the weights are quantized already (quant_method {method!r})",
            hint="Give the checkpoint that they were made from.",
        )
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    if told and isinstance(config.get("model_type"), str):
        return ""
    hint = FACTORY_HINT
    if isinstance(config.get("model_type"), str):
        hint = f"Say by --task what it is for, such as feature-extraction. Or: {FACTORY_HINT}"
    if isinstance(config.get("architecture"), str):
        call = f"timm.create_model({config['architecture']!r})"
        hint = f"It is of timm: --model file.py:function with a function that returns {call}."
    elif isinstance(config.get("_class_name"), str):
        hint = (
            "It is of diffusers: --model file.py:function with a function that returns a "
            f"{config['_class_name']} of this configuration."
        )
    raise CheckpointError(f"{where} names no 'architectures' of transformers", hint=hint)


def _transformers(folder: Path, name: str) -> Any:
    try:
        with relayed(logger):
            import transformers  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise CheckpointError(
            f"{folder} holds weights of {name}, a class of transformers, which cannot be imported: "
            f"{error}",
            hint=f"Install it: pip install 'compressor[hf]'. Or: {FACTORY_HINT}",
        ) from error
    return transformers


def _class_of(transformers: Any, folder: Path, name: str) -> Any:
    found = getattr(transformers, name, None)
    if inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel):
        return found
    own = "auto_map" in read_config(folder)
    code = "it comes with code of its own (auto_map), and code of a checkpoint is not run"
    raise CheckpointError(
        f"{folder / CONFIG} names the architecture {name!r}, which transformers "
        f"{transformers.__version__} does not have"
        + (f": {code}" if own else "; code that comes with a checkpoint is not run"),
        hint=f"A newer transformers may have it: pip install -U transformers. Or: {FACTORY_HINT}",
    )


def _require_whole(folder: Path, name: str, info: Any) -> None:
    """What is missing would be drawn at random."""
    for what, key in (("missing", "missing_keys"), ("of another shape", "mismatched_keys")):
        found = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in info[key])
        if found:
            raise CheckpointError(
                f"{folder}: weights of {name} are {what} ({len(found)}): {listed(found)}",
                hint=f"Check 'architectures' in {CONFIG}, or that all of the weights were saved.",
            )


def _notices(name: str, config: dict[str, Any], info: Any, task: Task | None) -> tuple[str, ...]:
    what = "" if task is None else f", for {task.name}"
    said = [f"the module is {name} of transformers, as {CONFIG} says{what}"]
    stored = config.get("dtype") or config.get("torch_dtype")
    if stored in ("float16", "bfloat16"):
        said.append(f"weights stored as {stored} are loaded into a module of float32")
    extra = sorted(info["unexpected_keys"])
    if extra:
        said.append(
            f"{len(extra)} entries of the files are of no use to the model and were left out: "
            f"{listed(extra, 4)}"
        )
    return tuple(said)
