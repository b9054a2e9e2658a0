"""The architecture that a Hugging Face folder names, from `transformers`, where it is installed.

Nothing is looked up in the network, and no code of the folder is run.
"""

import inspect
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from compressor.checkpoint.hub import CONFIG, read_config
from compressor.checkpoint.statedict import listed
from compressor.errors import CheckpointError
from compressor.system.third_party_output import relayed

logger = logging.getLogger(__name__)

FACTORY_HINT = (
    "Name what builds the module: --model package.module:factory or --model file.py:factory, its "
    "arguments by --model-args."
)


def load_pretrained(folder: Path, torch: Any) -> tuple[Any, tuple[str, ...]]:
    """The module of a folder, in float32, and notices for the user.

    Args:
        folder: It holds `config.json` and weights.
        torch: The package.

    Raises:
        CheckpointError: The configuration names no class of `transformers`, that is not installed,
            the weights are quantized, or do not fit.
    """
    config = read_config(folder)
    name = _class_name(folder, config)
    with _offline():
        transformers = _transformers(folder, name)
        cls = _class_of(transformers, folder, name)
        try:
            with relayed(logger):
                module, info = cls.from_pretrained(
                    folder,
                    local_files_only=True,
                    trust_remote_code=False,
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
    return module, _notices(name, config, module, info)


def _class_name(folder: Path, config: dict[str, Any]) -> str:
    where = folder / CONFIG
    if "quantization_config" in config:
        method = (config["quantization_config"] or {}).get("quant_method", "unknown")
        raise CheckpointError(
            f"{where}: the weights are quantized already (quant_method {method!r})",
            hint="Give the checkpoint that they were made from.",
        )
    names = config.get("architectures")
    if isinstance(names, list) and names and isinstance(names[0], str):
        return names[0]
    hint = FACTORY_HINT
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
            hint=f"Install it: pip install transformers. Or: {FACTORY_HINT}",
        ) from error
    return transformers


def _class_of(transformers: Any, folder: Path, name: str) -> Any:
    found = getattr(transformers, name, None)
    if inspect.isclass(found) and issubclass(found, transformers.PreTrainedModel):
        return found
    raise CheckpointError(
        f"{folder / CONFIG} names the architecture {name!r}, which transformers "
        f"{transformers.__version__} does not have; code that comes with a checkpoint is not run",
        hint=FACTORY_HINT,
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


def _notices(name: str, config: dict[str, Any], module: Any, info: Any) -> tuple[str, ...]:
    said = [f"the module is {name} of transformers, as {CONFIG} says"]
    stored = config.get("dtype") or config.get("torch_dtype")
    if stored in ("float16", "bfloat16"):
        said.append(f"weights stored as {stored} are loaded into a module of float32")
    extra = sorted(info["unexpected_keys"])
    if extra:
        said.append(
            f"{len(extra)} entries of the files are of no use to the model and were left out: "
            f"{listed(extra, 4)}"
        )
    if getattr(module.config, "use_cache", False):
        module.config.use_cache = False
        said.append(
            "the cache of keys and values is switched off (use_cache): a call takes whole "
            "sequences. A factory of your own (--model) can take and return the cache"
        )
    return tuple(said)


@contextmanager
def _offline() -> Iterator[None]:
    """No look at the network, whatever a configuration refers to."""
    kept = os.environ.get("HF_HUB_OFFLINE")
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the package is imported
    try:
        yield
    finally:
        if kept is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = kept
