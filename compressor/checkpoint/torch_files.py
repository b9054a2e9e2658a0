"""Files of torch: `torch.save` archives, old and new, safetensors, and TorchScript.

Pickles are read with `weights_only=True`, which builds tensors and plain containers and runs no
code from the file; `_containers` adds what trainers put beside their weights and runs none either.
Where a file holds more, its weights are read with stand-ins for the rest (`inert`). Only
`trust_pickle` allows more.
"""

import argparse
import logging
import pathlib
import pickle
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy._core.multiarray import _reconstruct, scalar

from compressor.checkpoint.inert import InertFile
from compressor.checkpoint.statedict import listed
from compressor.checkpoint.storages import why_too_short
from compressor.errors import CheckpointError
from compressor.system.archives import DAMAGE
from compressor.system.asked_first import why_not_survived
from compressor.system.third_party_output import relayed
from compressor.system.userfile import blame

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


@dataclass(frozen=True)
class Unpickled:
    """The content of a pickle.

    Attributes:
        content: The object.
        trusted: Whether the file's code had to be trusted for it, and ran.
        unknown: Classes and functions for whose objects something inert stands, as `module.name`.
    """

    content: object
    trusted: bool = False
    unknown: tuple[str, ...] = ()


def unpickle(path: Path, *, trust: bool, kind: str) -> Unpickled:
    """What `torch.save` or `pickle.dump` wrote, on the CPU.

    Args:
        path: The file.
        trust: Whether to unpickle without restrictions what holds more than tensors.
        kind: "torch archive", "legacy torch", which cannot be mapped into memory, or
            "plain pickle".

    Raises:
        CheckpointError: The file is damaged, or what it holds cannot be rebuilt.
    """
    torch = require("torch", path)
    if kind == "torch archive":
        _check_storages(path)
    if kind != "plain pickle":
        try:
            with relayed(logger), ExitStack() as stack:
                # Torch takes files of this name for safetensors, whatever they hold.
                misnamed = path.suffix == ".safetensors"
                file = stack.enter_context(path.open("rb")) if misnamed else path
                mapped = kind != "legacy torch" and not misnamed
                stack.enter_context(torch.serialization.safe_globals(_containers()))
                found = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
                return Unpickled(found)
        except pickle.UnpicklingError:
            pass  # it holds more than tensors
        except Exception as error:  # the reader raises RuntimeError, EOFError, KeyError and others
            raise _damaged(path, error) from error
    inert = _inertly(path, kind, torch)
    if trust and inert.unknown:
        return Unpickled(_unpickle_whole(torch, path, kind), trusted=True)
    return inert


def _inertly(path: Path, kind: str, torch: Any) -> Unpickled:
    """The weights, and something inert for all else."""
    reading = InertFile()
    try:
        with relayed(logger), path.open("rb") as file:
            if kind == "plain pickle":
                found = reading.load(file)
            else:
                code = reading.pickle_module
                found = torch.load(file, "cpu", pickle_module=code, weights_only=False)
    except Exception as error:  # as above, and what a rebuilt class makes of strange arguments
        if reading.unknown:
            raise refused(path, reading.unknown) from error
        raise _damaged(path, error) from error
    return Unpickled(found, unknown=tuple(reading.unknown))


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
    _check_storages(path)

    def loaded() -> Any:
        module = torch.jit.load(str(path), map_location="cpu")
        # A frozen module has no training flag left to set.
        return module.eval() if hasattr(module, "training") else module

    reason = why_not_survived(loaded)
    if reason is not None:
        raise _damaged(path, RuntimeError(f"torch {reason} on it, in a process of its own"))
    try:
        with relayed(logger):
            module = loaded()
            for name, tensor in module.state_dict().items():
                _check_bounds(name, tensor)
            return module
    except Exception as error:  # RuntimeError and what lies below it
        raise _damaged(path, error) from error


def _check_storages(path: Path) -> None:
    """Refuse an archive with a storage that is shorter than it claims.

    Raises:
        CheckpointError: There is one, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            reason = why_too_short(archive)
    except (KeyError, *DAMAGE) as error:
        raise _damaged(path, error) from error
    if reason is not None:
        raise _damaged(path, ValueError(reason))


def _check_bounds(name: str, tensor: Any) -> None:
    """Refuse a tensor that claims more than its storage has: reading it reads somebody else's.

    Raises:
        ValueError: It does.
    """
    if not hasattr(tensor, "untyped_storage") or tensor.is_quantized or not tensor.numel():
        return
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = tensor.storage_offset() + sum((size - 1) * stride for size, stride in steps)
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    if last >= held:
        raise ValueError(f"tensor {name!r} claims {last + 1:,} elements, and the file has {held:,}")


def refused(path: Path, unknown: Sequence[str]) -> CheckpointError:
    """The error for a file of which more is wanted than its weights.

    Args:
        path: The file.
        unknown: The classes and functions that it names.
    """
    module = any(name.startswith("torch.nn.modules.") for name in unknown)
    what = "a pickled nn.Module" if module else "pickled Python objects beside tensors"
    return CheckpointError(
        f"{path} holds {what} ({listed(unknown, _SHOWN)}); unpickling them runs whatever code the "
        "file contains",
        hint="Pass --model FILE.py:FACTORY, which builds the module: then the weights are read and "
        "no code in the file runs. Or, only if you trust where the file comes from, pass "
        "--trust-pickle.",
    )


def own_classes(unknown: Sequence[str]) -> list[str]:
    """Those of the names that are neither Python's nor torch's own."""
    known = {*sys.stdlib_module_names, "__builtin__", "copy_reg", "torch", "numpy"}
    return [name for name in unknown if name.partition(".")[0] not in known - {"__main__"}]


def _unpickle_whole(torch: Any, path: Path, kind: str) -> object:
    try:
        with relayed(logger), _working_directory_importable():
            if kind == "plain pickle":
                with path.open("rb") as file:
                    return pickle.load(file)
            return torch.load(path, map_location="cpu", weights_only=False)
    except (AttributeError, ImportError) as error:
        raise CheckpointError(
            f"{path}: a class of the pickled module cannot be imported: {_sought(error)}",
            hint="Pass --model FILE.py:FACTORY, which builds the module, instead of "
            "--trust-pickle: then only weights are read. Or run where the class can be imported "
            "as it is named (PYTHONPATH).",
        ) from error
    except Exception as error:  # the code in the file may raise anything
        raise CheckpointError(f"{path} cannot be unpickled: {blame(error)}") from error


def _sought(error: Exception) -> str:
    """Which class is missing, and where it was looked for."""
    found = re.search(r"attribute '([^']+)' on <module '([^']+)'(?: from '([^']+)')?", str(error))
    if found is not None:
        name, module, file = found.groups()
        if module == "__main__":
            return f"{name} was defined in the script that saved it (__main__), which is not run"
        return f"{name} is looked for in the module {module} ({file}), which has none"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"it is looked for in the module {error.name}, which cannot be found from here"
    return blame(error)


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
