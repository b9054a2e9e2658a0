"""Which code and state a module is: what a capture of it depends on beside its weights.

Python files of the user's that are loaded, files of the classes of its parts, and the plain values
that the parts hold: a stride, a list of sizes, a configuration.
"""

import hashlib
import sys
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from compressor.system.cache import array_digest, digest_of
from compressor.system.userfile import is_installed, is_own

_PLAIN = (str, int, float, bool, bytes, type(None))
_DEEP = 4
_OF_TORCH = frozenset({"_parameters", "_buffers", "_modules"})


def code_of(module: Any) -> str | None:
    """SHA-256 of all that decides what a module computes.

    Args:
        module: A `torch.nn.Module` that was just loaded.

    Returns:
        None where a part has no file that could be read, as in a notebook.
    """
    parts = list(module.named_modules())
    files: set[str] = set()
    for _, part in parts:
        for kind in type(part).__mro__[:-1]:
            file = _file_of(kind)
            if file is None:
                return None
            files.add(file)
    try:
        code = [_file_digest(Path(file)) for file in sorted(files | set(_loaded()))]
    except OSError:
        return None
    told = [[name, type(part).__qualname__, _told(vars(part), 0)] for name, part in parts]
    return digest_of(code, told, list(_weights(module)))


def _file_of(kind: type) -> str | None:
    """The file that defines a class; None for one that was typed in, or made by code."""
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    if isinstance(file, str):
        return file
    codes = (getattr(one, "__code__", None) for one in vars(kind).values())
    files = (code.co_filename for code in codes if code is not None)
    return next((file for file in files if Path(file).is_file()), None)


def _loaded() -> Iterator[str]:
    """The user's own Python files that were imported by now."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        # torch.ops says that it is `_ops.py`, which is nowhere.
        if not is_installed(file) and not is_own(file) and Path(file).is_file():
            yield file


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _weights(module: Any) -> Iterator[list[str]]:
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        yield [name, *_tensor(tensor)]


def _tensor(tensor: Any) -> list[str]:
    """Type, shape and content of a tensor of any type, bfloat16 too."""
    import torch  # noqa: PLC0415 - there is a tensor, and so it is loaded

    content = tensor.detach().cpu().contiguous().reshape(-1)
    raw = content.view(torch.uint8).numpy() if content.numel() else np.zeros(0, np.uint8)
    return [str(tensor.dtype), str(tuple(tensor.shape)), array_digest(raw)]


def _told(value: Any, depth: int) -> Any:
    """Plain values as JSON; of all else what it holds, as deep as configurations go."""
    if isinstance(value, _PLAIN):
        return repr(value)
    if depth > _DEEP:
        return type(value).__qualname__
    if isinstance(value, Mapping):
        items = ((str(key), one) for key, one in value.items() if key not in _OF_TORCH)
        return [[key, _told(one, depth + 1)] for key, one in sorted(items, key=lambda one: one[0])]
    if isinstance(value, list | tuple):
        return [_told(one, depth + 1) for one in value]
    if isinstance(value, set | frozenset):
        return sorted(map(repr, value))
    return _of_object(value, depth)


def _of_object(value: Any, depth: int) -> Any:
    """An array by its content, a function by what it closes over, all else by its attributes."""
    if isinstance(value, np.ndarray):
        return array_digest(value) if value.dtype != object else "objects"
    if hasattr(value, "detach") and hasattr(value, "dtype"):
        return _tensor(value)
    name = getattr(value, "__qualname__", type(value).__qualname__)
    if callable(value):
        return [name, [_told(cell.cell_contents, depth + 1) for cell in _cells(value)]]
    if not hasattr(value, "__dict__"):
        said = repr(value)
        return [name, "" if " at 0x" in said else said]
    return [name, _told(vars(value), depth + 1)]


def _cells(function: Any) -> tuple[Any, ...]:
    """What a function closes over, as far as it is known by now."""
    cells = getattr(function, "__closure__", None) or ()
    return tuple(cell for cell in cells if _is_full(cell))


def _is_full(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - an empty cell raises
    except ValueError:
        return False
    return True
