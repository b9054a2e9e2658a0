"""`torch.export` archives, inspected before torch opens them.

`torch.export.load` unpickles without restrictions whatever an archive stores as a pickle, and
evaluates the text of its symbolic sizes as Python. So an archive is first read here: its pickles
must load with `weights_only=True`, and its symbolic sizes must be arithmetic.
"""

import ast
import io
import json
import logging
import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compressor.checkpoint.storages import why_too_short
from compressor.checkpoint.torch_files import require
from compressor.errors import CheckpointError
from compressor.system.archives import DAMAGE
from compressor.system.third_party_output import relayed

logger = logging.getLogger(__name__)

_OBJECTS = ("custom_obj_", "opaque_obj_")
"""Prefixes of the constants that are pickled objects."""

_FUNCTIONS = re.compile(
    # of sympy
    "Symbol|Integer|Float|Rational|Add|Mul|Pow|Mod|Min|Max|Abs|floor|ceiling|Piecewise|And|Or|Not|"
    "Xor|Eq|Ne|Equality|Unequality|GreaterThan|LessThan|StrictGreaterThan|StrictLessThan|"
    # of torch.utils._sympy.functions
    "FloorDiv|ModularIndexing|Where|PythonMod|CleanDiv|CeilToInt|FloorToInt|CeilDiv|LShift|RShift|"
    "PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|IsNonOverlappingAndDenseIndicator|TruncToFloat|"
    "TruncToInt|RoundToInt|RoundDecimal|ToFloat|Identity|BitwiseFn_[a-z_]+|OpaqueUnaryFn_[a-z0-9]+"
)
"""What torch writes into symbolic sizes, in sympy's `srepr` notation."""

_TEXT = re.compile(r"[A-Za-z0-9_.+-]{1,80}")
"""Text that may stand in them: the name of a symbol, the digits of a float."""


def load_exported(path: Path, *, trust: bool) -> tuple[Any, bool]:
    """An `ExportedProgram`, and whether pickles in the archive had to be trusted for it.

    Raises:
        CheckpointError: The archive is damaged, was written by an incompatible version, or holds
            more than tensors and text, and is not trusted.
    """
    torch = require("torch", path)
    danger = _danger(torch, path)
    if danger is not None and not trust:
        raise CheckpointError(
            f"{path}: {danger}; loading it could run code from the file",
            hint="Only if you trust where the file comes from, pass --trust-pickle.",
        )
    try:
        with relayed(logger), path.open("rb") as file:
            return torch.export.load(file), danger is not None
    except Exception as error:  # torch raises whatever its schema, reader and verifier raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{path} is damaged, or was written by an incompatible version of torch: {lines[0]}",
            hint=f"This is torch {torch.__version__}; export the model again with it.",
        ) from error


def _danger(torch: Any, path: Path) -> str | None:
    """Why an archive is not plain data, or None when it is."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if len(set(names)) < len(names):
                return "members of the archive have the same name"
            for name in names:
                if found := _danger_of_member(torch, archive, name):
                    return found
    except (KeyError, TypeError, *DAMAGE) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}", hint="Copy or download it again."
        ) from error
    return None


def _danger_of_member(torch: Any, archive: zipfile.ZipFile, name: str) -> str | None:
    base = posixpath.basename(name)
    if "/aotinductor/" in name:
        return f"{name} is compiled code"
    if base.startswith(_OBJECTS):
        return f"{name} is a pickled object"
    if base.endswith(".pt"):
        return _danger_of_pickle(torch, archive, name)
    return _danger_of_json(torch, archive, name) if base.endswith(".json") else None


def _danger_of_json(torch: Any, archive: zipfile.ZipFile, name: str) -> str | None:
    content = json.loads(archive.read(name))
    for text in _strings(content, "expr_str"):
        if not is_arithmetic(text):
            return f"the symbolic size {text!r} is not arithmetic"
    pickled = [text for text, entry in _payloads(content) if entry.get("use_pickle")]
    for payload in pickled:
        member = posixpath.join(posixpath.dirname(name), payload)
        if found := _danger_of_pickle(torch, archive, member):
            return found
    return None


def _danger_of_pickle(torch: Any, archive: zipfile.ZipFile, name: str) -> str | None:
    content = archive.read(name)
    if not content:
        return None
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            reason = why_too_short(inner)
        if reason is not None:
            raise ValueError(f"{name}: {reason}")
    try:
        with relayed(logger):
            torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # damaged or unsafe: unsafe until told otherwise
        return f"{name} holds pickled objects beside tensors"
    return None


def is_arithmetic(text: str) -> bool:
    """Whether an expression is a tree of known functions over symbols and numbers."""
    try:
        tree = ast.parse(text, mode="eval")
        return _is_arithmetic(tree.body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _is_arithmetic(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_arithmetic(node.operand)
    if isinstance(node, ast.Tuple):  # Piecewise takes pairs
        return all(_is_arithmetic(element) for element in node.elts)
    if isinstance(node, ast.Call):
        return _is_known_call(node)
    return _is_constant(node) or (isinstance(node, ast.Name) and not node.id.startswith("_"))


def _is_known_call(node: ast.Call) -> bool:
    if not isinstance(node.func, ast.Name) or not _FUNCTIONS.fullmatch(node.func.id):
        return False
    if not all(_is_constant(keyword.value) for keyword in node.keywords):
        return False
    if node.func.id in ("Symbol", "Float"):  # others would evaluate a text as an expression
        return all(_is_constant(argument) or _is_text(argument) for argument in node.args)
    return all(_is_arithmetic(argument) for argument in node.args)


def _is_constant(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def _is_text(node: ast.expr) -> bool:
    value = node.value if isinstance(node, ast.Constant) else None
    return isinstance(value, str) and _TEXT.fullmatch(value) is not None


def _strings(content: object, key: str) -> Iterator[str]:
    """Every string under `key`, at any depth."""
    if isinstance(content, dict):
        for name, value in content.items():
            if name == key and isinstance(value, str):
                yield value
            else:
                yield from _strings(value, key)
    elif isinstance(content, list):
        for value in content:
            yield from _strings(value, key)


def _payloads(content: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and entry of what a payload configuration lists."""
    entries = content.get("config") if isinstance(content, dict) else None
    for entry in entries.values() if isinstance(entries, dict) else ():
        if isinstance(entry, dict) and isinstance(entry.get("path_name"), str):
            yield entry["path_name"], entry
