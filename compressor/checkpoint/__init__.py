"""A path, or a live object, becomes the source of a capture: safely, and by its content."""

import inspect
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from calibration.encoders.model_folder import ModelFolder
from compressor.capture.source import ModelSource
from compressor.checkpoint.architectures import FACTORY_HINT, load_pretrained
from compressor.checkpoint.exported import load_exported
from compressor.checkpoint.hub import WeightFiles, find_weights, read_config
from compressor.checkpoint.kinds import FileKind, find_kind
from compressor.checkpoint.named_call import called_by
from compressor.checkpoint.numpy_files import load_numpy
from compressor.checkpoint.pretrained_inputs import inputs_of
from compressor.checkpoint.statedict import listed, load_into, summary
from compressor.checkpoint.states import find_module, find_state, find_states, fitting_state
from compressor.checkpoint.stored import tensors_of
from compressor.checkpoint.torch_files import (
    Unpickled,
    load_safetensors,
    load_torchscript,
    own_classes,
    refused,
    require,
    unpickle,
)
from compressor.checkpoint.torchvision_entry import entry_module, entry_name
from compressor.errors import CheckpointError, UsageError
from compressor.graph.files import load_model
from compressor.graph.soundness import make_sound
from compressor.recipe.loading import ModelOptions
from compressor.recipe.recipe import Recipe
from compressor.system.third_party_output import relayed
from compressor.system.userfile import load_object, user_errors

logger = logging.getLogger(__name__)

_STATES: set[FileKind] = {
    "safetensors",
    "torch archive",
    "legacy torch",
    "plain pickle",
    "numpy",
}
"""Kinds that may hold weights without an architecture."""

_TRUSTED = "the file's pickle was trusted: code in it has run"


def load_checkpoint(path: Path, options: ModelOptions) -> ModelSource:
    """Load a model of any supported kind; the kind is found from the content.

    A `torch.export` archive, a TorchScript archive and an ONNX model are complete. A state dict
    (of `torch.save`, safetensors, pickle or numpy) needs `options.factory`, unless it lies in a
    folder of Hugging Face whose `config.json` names a class of `transformers`. A pickled
    `nn.Module` needs `options.trust_pickle`, or `options.factory` for its weights alone. Torch is
    imported for all but ONNX.

    Args:
        path: The file; or a folder of Hugging Face, an index of shards, or one of them; or the name
            of weights of torchvision.
        options: Factory, its arguments, and whether a pickle may run code.

    Raises:
        CheckpointError: The file is unreadable, unsafe, of an unknown kind, or does not fit the
            factory; or torch is needed and missing.
        UsageError: Weights of torchvision, and a factory beside them.
    """
    if (entry := entry_name(path)) is not None:
        if options.factory is not None:
            raise UsageError(
                f"{entry} names an architecture of torchvision, and --model {options.factory}",
                hint="Leave --model out; or name a file of weights, which it takes.",
            )
        return replace(source_of(entry_module(entry)), description=entry)
    weights = find_weights(path)
    if weights is not None:
        return _from_weights(path, weights, options)
    kind = find_kind(path)
    if kind == "onnx":
        return ModelSource(
            kind, str(path), path, model=load_model(path), notices=_idle(kind, options)
        )
    if kind == "exported program":
        program, trusted = load_exported(path, trust=options.trust_pickle)
        notices = (*_idle(kind, options), *((_TRUSTED,) if trusted else ()))
        return ModelSource(kind, str(path), path, program=program, notices=notices)
    if kind == "torchscript":
        module = load_torchscript(path)
        return ModelSource(kind, str(path), path, module=module, notices=_idle(kind, options))
    if kind == "safetensors":
        return _from_state(path, _stored(path), options, ())
    if kind == "numpy":
        _require_weights(path, options)
        require("torch", path)
        return _from_state(path, load_numpy(path), options, ())
    return _from_pickle(path, kind, options)


def require_model(model: object, recipe: Recipe) -> None:
    """Refuse a path that is no model, or has no factory.

    Told from the names and beginnings of files; a live object is what it is, and weights of
    torchvision are looked for as they are loaded.

    Raises:
        CheckpointError: As for `load_checkpoint`; nothing of the weights is read.
    """
    if not isinstance(model, str | Path) or entry_name(model) is not None:
        return
    path, factory = Path(model), recipe.model.factory
    weights = find_weights(path)
    kinds = {find_kind(file) for file in ((path,) if weights is None else weights.files)}
    if "numpy" in kinds:
        _require_weights(path, recipe.model)
    if factory is not None and kinds & _STATES:
        require("torch", path)
        load_object(factory, "model factory", error=CheckpointError)


def source_of(model: object) -> ModelSource:
    """The source of a live object: a module, an exported program, or an ONNX model in memory.

    Wrappers (`DataParallel`, `torch.compile`) are taken off. The object is not changed.

    Raises:
        UsageError: It is none of these.
        CheckpointError: The nodes of an ONNX message do not make a graph.
    """
    if isinstance(model, ModelSource):
        return model
    if isinstance(model, ir.Model):
        return ModelSource("onnx", f"onnx_ir.Model {model.graph.name or ''}".strip(), model=model)
    if isinstance(model, onnx.ModelProto):
        name = f"ModelProto {model.graph.name}".strip()
        made = ir.from_proto(model)
        make_sound(made, name)
        return ModelSource("onnx", name, model=made)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        if isinstance(model, torch.export.ExportedProgram):
            return ModelSource("exported program", "exported program", program=model)
        if isinstance(model, torch.jit.ScriptModule):
            name = getattr(model, "original_name", type(model).__name__)
            return ModelSource("torchscript", f"TorchScript {name}", module=model)
        if isinstance(model, torch.nn.Module):
            module = _unwrapped(model, torch)
            return ModelSource("module", type(module).__name__, module=module)
    raise UsageError(
        f"expected a path, an nn.Module, an ExportedProgram, a ScriptModule or an onnx_ir.Model, "
        f"found {type(model).__name__}",
        hint=_what_to_pass(model),
    )


def _what_to_pass(model: object) -> str | None:
    """What may have been meant by an object that is no model."""
    if isinstance(model, Mapping):
        if model and all(hasattr(value, "shape") for value in model.values()):
            return "Weights alone are no model: load them into their module, and pass that."
        return (
            "Several graphs are of a loop that calls them: pass it, too, as pipeline=generate, or "
            "the name of a built-in one (docs/pipelines.md). Of a single model pass the model."
        )
    if isinstance(model, list | tuple):
        return (
            "Pass one model; the graphs of a loop are a dict from names to models, with "
            "pipeline= beside it (docs/pipelines.md)."
        )
    if isinstance(model, type):
        return f"That is a class: pass an instance of it, such as {model.__name__}()."
    if callable(model):
        return (
            "A function is captured as the forward of an nn.Module; one that calls several "
            "models is passed as pipeline=, with the models that it calls by name."
        )
    return None


def _from_weights(path: Path, weights: WeightFiles, options: ModelOptions) -> ModelSource:
    """What a folder of Hugging Face, an index or shards hold, by its own architecture or ours."""
    kinds = {file: find_kind(file) for file in weights.files}
    single = weights.files[0]
    if len(weights.files) == 1 and kinds[single] not in _STATES:
        return load_checkpoint(single, options)
    if options.factory is None and weights.folder is not None:
        return _from_pretrained(path, weights.folder, options, weights.notices)
    if len(weights.files) == 1 and kinds[single] != "safetensors":
        return replace(_from_pickle(single, kinds[single], options), path=path)
    state: dict[str, Any] = {}
    for file, kind in kinds.items():
        state |= _stored(file) if kind == "safetensors" else _pickled(file, kind)
    absent = [name for name in weights.names or () if name not in state]
    if absent:
        raise CheckpointError(
            f"{path}: the index lists weights that the shards do not hold: {listed(absent)}",
            hint="Index and shards are of different models: copy or download all of them again.",
        )
    return _from_state(path, state, options, weights.notices)


def _from_pretrained(
    path: Path, folder: Path, options: ModelOptions, notices: tuple[str, ...]
) -> ModelSource:
    """The architecture of a folder, called by the inputs that its configuration tells."""
    torch: Any = require("torch", path)
    found = load_pretrained(folder, torch, options.task)
    module, more = found.module, list(found.notices)
    if getattr(module.config, "use_cache", False) and found.task is not None and found.task.writes:
        more.append(
            "the cache of keys and values is switched off (use_cache): a call takes whole "
            "sequences. `compress FOLDER` makes graphs that take and return it"
        )
    if hasattr(module.config, "use_cache"):
        module.config.use_cache = False
    described = ModelFolder(folder, read_config(folder))
    inputs = inputs_of(module, described)
    if getattr(module.config, "is_encoder_decoder", False):
        inputs = ()  # it takes what its decoder has written, too
    if inputs:
        module = called_by(module, [spec.name for spec in inputs])
    said = (*notices, *more, *_unused_key(options))
    return ModelSource("module", str(path), path, module=module, notices=said, inputs=inputs)


def _stored(path: Path) -> dict[str, Any]:
    return tensors_of(partial(load_safetensors, path))


def _pickled(path: Path, kind: FileKind) -> dict[str, Any]:
    """One of several pickled files: tensors only."""

    def opened() -> Mapping[str, Any]:
        loaded = unpickle(path, trust=False, kind=kind).content
        if not isinstance(loaded, Mapping):
            raise CheckpointError(f"{path} holds a {type(loaded).__name__}; expected a state dict")
        return loaded

    return tensors_of(opened)


def _from_pickle(path: Path, kind: FileKind, options: ModelOptions) -> ModelSource:
    loaded = unpickle(path, trust=options.trust_pickle, kind=kind)
    torch: Any = require("torch", path)
    found = find_module(loaded.content, torch.nn.Module, options.state_key)
    if found is not None:
        place, module = found
        said = () if options.state_key or not place else (f"the module under {place!r} was taken",)
        notices = (*_said_of_code(loaded), *said, *_idle("pickled module", options))
        module = _unwrapped(module, torch).eval()
        return ModelSource("module", str(path), path, module=module, notices=notices)
    if options.factory is None and loaded.unknown:
        raise refused(path, loaded.unknown)
    return _from_state(path, loaded.content, options, _said_of_code(loaded))


def _said_of_code(loaded: Unpickled) -> tuple[str, ...]:
    """What became of the code in a file."""
    if loaded.trusted:
        return (_TRUSTED,)
    theirs = own_classes(loaded.unknown)
    if not theirs:
        return ()
    return (
        f"only weights were read, and nothing was run of what the file names: {listed(theirs)}",
    )


def _require_weights(path: Path, options: ModelOptions) -> None:
    """Refuse arrays that nothing says to be weights."""
    if options.factory is None:
        raise CheckpointError(
            f"{path} is a file of NumPy arrays: data, or weights without an architecture",
            hint="Pass data by --calib or --eval. If these are weights: " + FACTORY_HINT,
        )


def _from_state(
    path: Path, loaded: object, options: ModelOptions, notices: tuple[str, ...]
) -> ModelSource:
    """The state dict that fits the user's module, loaded into it."""
    if options.state_key is None:
        states = find_states(loaded, str(path))
    else:
        states = [find_state(loaded, options.state_key, str(path))]
    if options.factory is None:
        raise CheckpointError(
            f"{path} is a state dict: weights without an architecture "
            f"({summary(states[0].tensors)})",
            hint=FACTORY_HINT,
        )
    with relayed(logger):
        module = build_module(options.factory, options.args)
    state, more = fitting_state(module, states)
    more += load_into(module, state.tensors, f"{path} in {options.factory}")
    return ModelSource("module", str(path), path, module=module.eval(), notices=(*notices, *more))


def build_module(factory: str, arguments: Mapping[str, Any]) -> Any:
    """Call the user's factory: a function or class of `package.module:name` or `file.py:name`.

    Raises:
        CheckpointError: It cannot be imported, fails (with the user's own file and line), or
            returns something else than an `nn.Module`.
    """
    torch: Any = require("torch", Path(factory))
    found = load_object(factory, "model factory", error=CheckpointError)
    if not isinstance(found, torch.nn.Module):
        if not callable(found):
            raise CheckpointError(
                f"model factory {factory}: expected a function or class, found a "
                f"{type(found).__name__}"
            )
        with user_errors(f"model factory {factory}", error=CheckpointError):
            _check_arguments(found, factory, arguments)
            found = found(**arguments)
    if not isinstance(found, torch.nn.Module):
        raise CheckpointError(
            f"model factory {factory} should return an nn.Module and returned a "
            f"{type(found).__name__}"
        )
    return _unwrapped(found, torch)


def _check_arguments(factory: Any, name: str, arguments: Mapping[str, Any]) -> None:
    # A call that cannot be bound would be blamed on our own line.
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # builtins may have none
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise CheckpointError(
            f"model factory {name}{signature}: {error}",
            hint="Pass its arguments by --model-args, as in --model-args depth=20.",
        ) from error


def _unwrapped(module: Any, torch: Any) -> Any:
    while True:
        if isinstance(module, torch.nn.DataParallel | torch.nn.parallel.DistributedDataParallel):
            module = module.module
        elif type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod"):
            module = module._orig_mod
        else:
            return module


def _idle(kind: str, options: ModelOptions) -> tuple[str, ...]:
    """That options of weights without an architecture do nothing for a whole model."""
    unused = []
    if options.factory is not None:
        unused.append(f"--model {options.factory}")
    if options.state_key is not None and kind != "pickled module":
        unused.append(f"--state-key {options.state_key}")
    return tuple(f"{one} was not used: a file of kind {kind!r} is complete" for one in unused)


def _unused_key(options: ModelOptions) -> tuple[str, ...]:
    if options.state_key is None:
        return ()
    return (
        f"--state-key {options.state_key} was not used: the folder's own architecture loads all of "
        "its weights",
    )


__all__ = ["ModelSource", "build_module", "load_checkpoint", "require_model", "source_of"]
