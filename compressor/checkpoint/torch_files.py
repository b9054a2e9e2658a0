"""Files of torch: `torch.save` archives, old and new, safetensors, and TorchScript.

Pickles are read with `weights_only=True`, which builds tensors and plain containers and runs no
code from the file; `_containers` adds what trainers put beside their weights and runs none either.
Only `trust_pickle` allows more.
"""

import argparse
import logging
import pathlib
import pickle
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

from compressor.errors import CheckpointError
from compressor.relay import relayed
from compressor.userfile import blame

logger = logging.getLogger(__name__)

_SHOWN = 4

_PACKAGES = {"torch": "torch>=2.9"}
"""What pip is asked for, whether this tool was installed or runs from a clone: see the extra."""


def require(package: str, path: Path) -> ModuleType:
    """Import an optional package that reading `path` needs.

    Raises:
        CheckpointError: It is not installed.
    """
    name = package.partition(".")[0]
    try:
        with relayed(logger):
            return import_module(package)
    except ImportError as error:
        raise CheckpointError(
            f"{path} needs {name}, which cannot be imported: {error}",
            hint=f"Install it: {sys.executable} -m pip install {_PACKAGES.get(name, name)!r}.",
        ) from error


def unpickle(path: Path, *, trust: bool, legacy: bool) -> tuple[object, bool]:
    """What `torch.save` wrote, on the CPU, and whether the file's code had to be trusted for it.

    Args:
        path: The file.
        trust: Whether to unpickle without restrictions what holds more than tensors.
        legacy: Whether it is of the form before torch 1.6, which cannot be mapped into memory.

    Raises:
        CheckpointError: The file is damaged, or holds more than tensors and is not trusted.
    """
    torch = require("torch", path)
    try:
        with relayed(logger), ExitStack() as stack:
            # Torch takes files of this name for safetensors, whatever they hold.
            misnamed = path.suffix == ".safetensors"
            file = stack.enter_context(path.open("rb")) if misnamed else path
            mapped = not (legacy or misnamed)
            stack.enter_context(torch.serialization.safe_globals(_containers()))
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped), False
    except pickle.UnpicklingError as error:
        if not trust:
            raise _refused(path, _globals(torch, path, error)) from error
    except Exception as error:  # the reader raises RuntimeError, EOFError, KeyError and others
        raise _damaged(path, error) from error
    return _unpickle_whole(torch, path), True


def _containers() -> list[Any]:
    """What holds values and does nothing: arguments, numbers and arrays of numpy, paths.

    Numpy's rebuilding functions go by their names of before and after its second version.
    """
    rebuilt = [
        (function, f"numpy.{core}.multiarray.{function.__name__}")
        for function in (_reconstruct, scalar)
        for core in ("core", "_core")
    ]
    kinds = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]
    paths = [pathlib.PosixPath, pathlib.PurePosixPath]
    return [argparse.Namespace, SimpleNamespace, np.ndarray, np.dtype, *kinds, *rebuilt, *paths]


def load_safetensors(path: Path) -> Mapping[str, Any]:
    """The tensors of a safetensors file by name.

    Raises:
        CheckpointError: The file is damaged.
    """
    require("torch", path)
    safetensors = require("safetensors.torch", path)
    try:
        tensors: Mapping[str, Any] = safetensors.load_file(path)
    except Exception as error:  # SafetensorError has no common base
        raise _damaged(path, error) from error
    return tensors


def load_torchscript(path: Path) -> Any:
    """A `ScriptModule`, on the CPU, in evaluation mode.

    Raises:
        CheckpointError: The archive is damaged or of a newer version.
    """
    torch = require("torch", path)
    try:
        with relayed(logger):
            module = torch.jit.load(str(path), map_location="cpu")
            # A frozen module has no training flag left to set.
            return module.eval() if hasattr(module, "training") else module
    except Exception as error:  # RuntimeError and what lies below it
        raise _damaged(path, error) from error


def _refused(path: Path, names: list[str]) -> CheckpointError:
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    module = any(name.startswith("torch.nn.modules.") for name in names)
    what = "a pickled nn.Module" if module else "pickled Python objects beside tensors"
    return CheckpointError(
        f"{path} holds {what} ({shown or 'of unknown classes'}); unpickling them runs whatever "
        "code the file contains",
        hint="Save model.state_dict() and pass --model instead; or, only if you trust where the "
        "file comes from, pass --trust-pickle.",
    )


def _globals(torch: Any, path: Path, error: Exception) -> list[str]:
    """The classes and functions that a pickle refers to and `weights_only` refuses."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # legacy files are not inspected: the error names the first
        return re.findall(r"GLOBAL (\S+) was not", str(error))


def _unpickle_whole(torch: Any, path: Path) -> object:
    try:
        with relayed(logger), _working_directory_importable():
            return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise CheckpointError(
            f"{path}: a class of the pickled module cannot be imported: {blame(error)}",
            hint="Run where its package can be imported (PYTHONPATH), or save model.state_dict() "
            "and pass --model.",
        ) from error
    except Exception as error:  # the code in the file may raise anything
        raise CheckpointError(f"{path} cannot be unpickled: {blame(error)}") from error


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    # A console script's sys.path lacks the folder in which the user works and trained.
    folder = str(Path.cwd())
    absent = folder not in sys.path
    if absent:
        sys.path.append(folder)
    try:
        yield
    finally:
        if absent and folder in sys.path:
            sys.path.remove(folder)


def _damaged(path: Path, error: Exception) -> CheckpointError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return CheckpointError(
        f"{path} is damaged, or was written by a newer version: {lines[0]}",
        hint="Copy or download it again.",
    )
