"""Code the user names on the command line: `file.py:object` or `package.module:object`.

Whatever goes wrong inside that code is reported with the user's own file and line and no
traceback of ours.
"""

import difflib
import hashlib
import importlib
import importlib.util
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType

from compressor.errors import CompressorError, UsageError

_OBJECT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_OWN_PACKAGES = ("compressor", "calibration", "exporters")


def is_object_spec(text: str) -> bool:
    """Whether `text` reads as `file.py:object` or `package.module:object` and is no path."""
    place, colon, name = text.rpartition(":")
    if not (place and colon and _OBJECT.fullmatch(name)) or Path(text).exists():
        return False
    return place.endswith(".py") or _OBJECT.fullmatch(place) is not None


def load_object(spec: str, what: str, *, error: type[UsageError] = UsageError) -> object:
    """Import the object that `spec` names.

    `file.py:name` is relative to the working directory; the file's folder comes first on
    `sys.path` while it is imported, as if Python ran the file, and last afterwards, so that its
    functions may still import their neighbours when they are called. `package.module:name` is
    found on `sys.path` and in the working directory. A file is executed once per version of it.

    Args:
        spec: `file.py:name` or `package.module:name`; the name may be dotted.
        what: What the object is for, to begin messages with: "model factory".
        error: The class to raise.

    Raises:
        UsageError: Raised as `error`: `spec` is not of this form, the file, module or name does not
            exist (with the names that come close), or the code fails while it is imported.
    """
    place, _, name = spec.rpartition(":")
    if not place or not _OBJECT.fullmatch(name):
        raise error(
            f"{what}: expected file.py:name or package.module:name, found {spec!r}",
            hint="Name the object after a colon, as in data.py:batches",
        )
    if place.endswith(".py"):
        module = _load_file(Path(place), f"{what} {spec}", error)
    else:
        module = _load_module(place, name, f"{what} {spec}", error)
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise error(
                f"{what} {spec}: {place} has no {part!r}", hint=_suggest(part, _public(found))
            ) from None
    return found


@contextmanager
def user_errors(what: str, *, error: type[UsageError] = UsageError) -> Iterator[None]:
    """Turn whatever the user's code raises in this block into `error` with its file and line.

    Our own errors pass through unchanged, and so do KeyboardInterrupt and MemoryError.
    """
    try:
        yield
    except (CompressorError, MemoryError):
        raise
    except (Exception, SystemExit) as failure:
        raise error(f"{what}: {blame(failure)}", hint=_advice(failure)) from failure


def blame(failure: BaseException) -> str:
    """`file.py:12: ValueError: message`, at the deepest line that belongs to the user."""
    said = traceback.format_exception_only(failure)[-1].strip()
    if isinstance(failure, SyntaxError) and failure.filename:
        return f"{failure.filename}:{failure.lineno}: {type(failure).__name__}: {failure.msg}"
    where = place_of(failure)
    return said if where is None else f"{where}: {said}"


def place_of(failure: BaseException) -> str | None:
    """`file.py:12`, the deepest line that belongs to the user; None where none does."""
    frames = [
        frame
        for frame in traceback.extract_tb(failure.__traceback__)
        if not frame.filename.startswith("<frozen") and not is_own(frame.filename)
    ]
    theirs = [frame for frame in frames if not is_installed(frame.filename)] or frames
    return f"{theirs[-1].filename}:{theirs[-1].lineno}" if theirs else None


def _advice(failure: BaseException) -> str | None:
    """What helps where something cannot be imported."""
    if isinstance(failure, ModuleNotFoundError) and failure.name:
        package = failure.name.partition(".")[0]
        return (
            f"Install {package!r} for {sys.executable}, or put the folder that holds it on "
            "PYTHONPATH."
        )
    if isinstance(failure, ImportError) and "relative import" in str(failure):
        return (
            "A file of a package is named by its package: package.module:name, from the folder "
            "that holds the package."
        )
    if isinstance(failure, ImportError) and failure.name and failure.name in sys.modules:
        wanted = re.search(r"cannot import name '(\w+)'", str(failure))
        if wanted is not None:
            return _suggest(wanted[1], _public(sys.modules[failure.name]))
    return None


def _load_file(path: Path, what: str, error: type[UsageError]) -> ModuleType:
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else Path()
        nearby = [str(candidate) for candidate in folder.glob("*.py")]
        raise error(f"{what}: there is no file {path}", hint=_suggest(str(path), nearby))
    path = path.resolve()
    state = path.stat()
    version = hashlib.sha256(f"{path}|{state.st_mtime_ns}|{state.st_size}".encode()).hexdigest()
    # A name of its own: a user's calibration.py must not replace the package of that name.
    name = f"_user_{path.stem}_{version[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise error(f"{what}: {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up while it loads
    try:
        with _importable(path.parent), user_errors(what, error=error):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _load_module(place: str, name: str, what: str, error: type[UsageError]) -> ModuleType:
    if not _OBJECT.fullmatch(place):
        raise error(
            f"{what}: {place!r} is neither a .py file nor the name of a module",
            hint=f"Write path/to/file.py:{name}",
        )
    with _importable(Path.cwd()):
        try:
            with user_errors(what, error=error):
                module = importlib.import_module(place)
        except error as failure:
            cause = failure.__cause__
            missing = cause.name if isinstance(cause, ModuleNotFoundError) else None
            if missing and f"{place}.".startswith(f"{missing}."):
                raise error(
                    f"{what}: there is no module {missing!r}",
                    hint=f"Install it, or write path/to/file.py:{name}",
                ) from cause
            raise
    file = Path(*place.split(".")).with_suffix(".py")
    if place in _OWN_PACKAGES and file.is_file():
        raise error(
            f"{what}: the module {place!r} is a package of this toolkit",
            hint=f"For the file in this folder write {file}:{name}",
        )
    return module


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    for own in _OWN_PACKAGES:  # loaded before the user's files of these names can hide them
        importlib.import_module(own)
    importlib.invalidate_caches()
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have rearranged the path
            sys.path.remove(entry)
        if entry not in sys.path:
            sys.path.append(entry)


def is_own(filename: str) -> bool:
    """Whether a file belongs to this package."""
    root = Path(__file__).resolve().parents[2]
    return any(Path(filename).is_relative_to(root / package) for package in _OWN_PACKAGES)


def is_installed(filename: str) -> bool:
    """Whether a file is of Python or of an installed package."""
    return any(Path(filename).is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> frozenset[str]:
    """Folders of Python and of what is installed for it."""
    paths = sysconfig.get_paths()
    return frozenset(paths[key] for key in ("stdlib", "purelib", "platlib"))


def _public(owner: object) -> list[str]:
    """Names that a file defines or takes from others; what it imports whole is none of them."""
    names = [name for name in dir(owner) if not name.startswith("_")]
    return [name for name in names if not isinstance(getattr(owner, name, None), ModuleType)]


def _suggest(wanted: str, known: list[str]) -> str | None:
    close = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(close)}?"
    return f"it has {', '.join(sorted(known)[:8])}" if known else None
